"""A run: sidecars and PostgreSQL under load, killed at random moments, and what came of it."""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from random import Random

from fleet.kills.calls import BUDGET, Call, CallMaker, policies
from fleet.kills.checks import above_the_ceiling, charged
from fleet.kills.clients import Clients, all_calls
from fleet.kills.pods import Fates, Pod
from fleet.postgres_server import POD, Pooler, PostgresServer
from support.tools import require

from sidecar.fleet import schema

NANO_USD = 10**9
AWAY_SECONDS = (0.0, 5.0)
USED_UP_SECONDS = 3.0
"""A budget is used up if calls were denied for so long, and none was allowed."""
TURN_SECONDS = 0.5
DATABASE = "books"


@dataclass(frozen=True)
class Plan:
    """What is to happen."""

    pods: int
    servers: int
    sidecars: int
    seed: int
    ceiling_usd: float
    pooler: bool = False
    """Whether sidecars reach PostgreSQL through one."""
    life_seconds: tuple[float, float] = (1.5, 9.0)

    @property
    def ceiling(self) -> int:
        """The ceiling of each budget, in nano-USD."""
        return round(self.ceiling_usd * NANO_USD)


class KillRun:
    """The fleet, its clients, and what kills."""

    def __init__(self, plan: Plan, folder: Path) -> None:
        """Start PostgreSQL, and make the books. Raises MissingError."""
        self.plan = plan
        if plan.pooler:
            require("pgbouncer")
        self.server = PostgresServer()
        self.server_kills = 0
        self._pooler = Pooler(self.server) if plan.pooler else None
        self._random = Random(plan.seed)  # noqa: S311 - no secret
        self.fates = Fates(self._random, plan.pods, plan.life_seconds)
        self.maker = CallMaker(self._random)
        self._books_faults: list[str] = []
        url_file = folder / "books.url"
        url_file.write_text((self._pooler or self.server).url(DATABASE))
        self.server.execute(f"CREATE DATABASE {DATABASE}")
        asyncio.run(self._make_books())
        rules = policies(folder / "policies", plan.ceiling_usd)
        arguments = ("--fleet-url-file", str(url_file))
        self.pods = [
            Pod(f"pod-{number}", rules, folder, arguments, self.fates, self.maker)
            for number in range(plan.sidecars)
        ]

    async def _make_books(self) -> None:
        connection = await self.server.connect(DATABASE)
        await schema.init(connection, "UTC")
        for right in schema.grants(POD):
            await connection.execute(right)
        await connection.close()

    @property
    def calls(self) -> list[Call]:
        """All calls so far."""
        return all_calls(self._clients)

    @property
    def repeated(self) -> int:
        """How many requests with an answer were sent again."""
        return sum(clients.repeated for clients in self._clients)

    @property
    def _clients(self) -> list[Clients]:
        return [clients for pod in self.pods for clients in pod.all_clients()]

    @property
    def faults(self) -> list[str]:
        """All that is wrong so far."""
        return [
            *self._books_faults,
            *(fault for pod in self.pods for fault in pod.faults),
            *(fault for one in self._clients for fault in one.faults),
        ]

    def run(self, on_kill: Callable[[int], None]) -> list[str]:
        """Let all of it happen; return the faults."""
        try:
            asyncio.run(self._run(on_kill))
            for pod in self.pods:
                pod.stop()
            self._check_books()
            return [*self.faults, *above_the_ceiling(self.calls, self.plan.ceiling)]
        finally:
            for pod in self.pods:
                pod.end()
            if self._pooler is not None:
                self._pooler.remove()
            self.server.remove()

    async def _run(self, on_kill: Callable[[int], None]) -> None:
        lives = asyncio.gather(*(pod.live() for pod in self.pods))
        while not lives.done():
            await asyncio.sleep(TURN_SECONDS)
            on_kill(self.fates.kills)
            if self.faults:
                self.fates.wanted = 0  # the rest would bury the first
            await self._turn()
        await lives
        ended = asyncio.Event()
        last = asyncio.gather(*(pod.serve(ended) for pod in self.pods))
        await asyncio.sleep(USED_UP_SECONDS)
        ended.set()
        await last

    async def _turn(self) -> None:
        """Kill PostgreSQL when it is time, look into the books, and begin a new budget."""
        plan = self.plan
        if self.server_kills * plan.pods < self.fates.kills * plan.servers:
            self.server_kills += 1
            await asyncio.to_thread(self.server.stop, "immediate")
            await asyncio.sleep(self._random.uniform(*AWAY_SECONDS))
            await asyncio.to_thread(self.server.start)
        await asyncio.to_thread(self._check_books)
        if self._is_used_up():
            self.maker.budgets += 1

    def _is_used_up(self) -> bool:
        since = time.monotonic() - USED_UP_SECONDS
        recent = [
            call for call in self.maker.made[-2000:]
            if call.answered >= since and call.scope == self.maker.budget
        ]  # fmt: skip
        return len(recent) > 10 and not any(call.allowed for call in recent)

    def _check_books(self) -> None:
        """Check G1 of budgets; overruns are counted before their sidecars hear of them."""
        rows = self.server.execute(_GRANTED, database=DATABASE)
        overruns = {one.scope: one.overruns for one in charged(self.calls)}
        for row in rows:
            most = self.plan.ceiling + overruns.get(row["scope"], 0)
            if row["granted"] > most:
                text = f"{row['scope']}: shares of {row['granted']}, of {most}"
                self._books_faults.append(text)


_GRANTED = (
    "SELECT scope, sum(granted)::bigint AS granted FROM fleet_share AS share"
    " JOIN fleet_budget AS budget ON budget.id = share.budget"
    f" WHERE rule = '{BUDGET}' AND scope LIKE '{BUDGET}%' GROUP BY scope"
)
