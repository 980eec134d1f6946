"""What is stranded when a holder under load is killed, and its file is lost."""

import statistics
import tempfile
import time
from pathlib import Path

from fleet.postgres_server import PostgresServer

from bench.fleet import holder
from bench.fleet.books import Books, books
from bench.fleet.figures import Figure, Section
from bench.fleet.holder import MEAN_TOKENS, MOST_TOKENS, PacedJob
from bench.fleet.plan import Plan
from bench.fleet.workers import Worker
from sidecar.domain.sharing import RESERVE_SECONDS

CALLS_PER_SECOND = (2, 4, 6, 8, 12, 16, 24, 32, 48, 64)
CEILING_SECONDS = 120
"""For how much load of all holders the budget is."""
BETWEEN_SECONDS = 0.5
BOOKED_SECONDS = 0.3
"""Until what a killed holder had sent is booked."""


class Pods:
    """Holders under load, one for each place; another takes the place of a killed one."""

    def __init__(self, made: Books, folder: Path) -> None:
        """Start them."""
        self._made, self._folder, self._number = made, folder, 0
        self.ceiling = int(CEILING_SECONDS * MEAN_TOKENS * sum(CALLS_PER_SECOND))
        self._pods: list[Worker] = []
        self._uids: list[str] = []
        try:
            self._pods += [self._started(calls) for calls in CALLS_PER_SECOND]
            for pod in self._pods:
                self._uids.append(pod.hear())
                pod.tell("go")
        except BaseException:
            self.end()
            raise

    def kill(self, place: int) -> int:
        """Kill one, and put a new one into its place; return what is stranded, in tokens."""
        uid = self._uids[place]
        self._pods[place].kill()
        time.sleep(BOOKED_SECONDS)
        [row] = self._made.sql(
            f"SELECT coalesce(sum(granted - spent - held), 0)::bigint AS stranded"
            f" FROM fleet_share WHERE uid = '{uid}'"
        )
        self._pods[place] = pod = self._started(CALLS_PER_SECOND[place])
        self._uids[place] = pod.hear()
        pod.tell("go")
        return int(row["stranded"])

    def end(self) -> None:
        """Kill all that are left."""
        for pod in self._pods:
            pod.kill()

    def _started(self, calls: int) -> Worker:
        self._number += 1
        ledger = self._folder / f"{self._number}.sqlite"
        return Worker(holder.run_paced, PacedJob(self._made.url_file, ledger, self.ceiling, calls))


def measure(plan: Plan, server: PostgresServer, folder: Path) -> Section:
    """Kill one after the other, in turn."""
    percent: list[float] = []
    seconds: list[float] = []
    with books(server) as made, tempfile.TemporaryDirectory(dir=folder) as ledgers:
        pods = Pods(made, Path(ledgers))
        try:
            time.sleep(plan.load_before_kills_seconds)
            for number in range(plan.kills):
                place = number % len(CALLS_PER_SECOND)
                stranded = pods.kill(place)
                percent.append(stranded / pods.ceiling * 100)
                seconds.append(stranded / (CALLS_PER_SECOND[place] * MOST_TOKENS))
                time.sleep(BETWEEN_SECONDS)
        finally:
            pods.end()
    budget = f"of a budget for {CEILING_SECONDS} s of the fleet's load"
    return Section(
        f"what a share has that was not reported, after kill -9 of a holder and the loss of its file:"
        f" {plan.kills} times, {len(CALLS_PER_SECOND)} holders",
        [
            Figure("stranded by a kill, median", statistics.median(percent), "%", budget),
            Figure("stranded by a kill, most", max(percent), "%", budget),
            Figure("the same, median", statistics.median(seconds), "s", "of its own worst cases"),
            Figure(
                "the same, most", max(seconds), "s", f"of its own worst cases; {RESERVE_SECONDS} s"
                " is what a holder asks for",
            ),
        ],
    )  # fmt: skip
