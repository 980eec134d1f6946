"""How much of a budget is used at the first refusal, with uneven load."""

import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from fleet.postgres_server import PostgresServer

from bench.fleet import holder
from bench.fleet.books import books
from bench.fleet.figures import Figure, Section
from bench.fleet.holder import MEAN_TOKENS, Change, PacedJob
from bench.fleet.plan import Plan
from bench.fleet.workers import workers

CALLS_PER_SECOND = (2, 10, 30, 80, 180)
AFTER_SECONDS = 2


def measure(plan: Plan, server: PostgresServer, folder: Path) -> Section:
    """Use a budget up."""
    ceiling = int(plan.drain_seconds * MEAN_TOKENS * sum(CALLS_PER_SECOND))
    with books(server) as made, tempfile.TemporaryDirectory(dir=folder) as ledgers:
        jobs = [
            PacedJob(made.url_file, Path(ledgers, f"{calls}.sqlite"), ceiling, calls)
            for calls in CALLS_PER_SECOND
        ]
        with workers(holder.run_paced, jobs) as pods:
            for pod in pods:
                pod.hear()
            for pod in pods:
                pod.tell("go")
            time.sleep(plan.drain_seconds + plan.drained_seconds)
            for pod in pods:
                pod.tell("stop")
            changes = sorted(change for pod in pods for change in pod.hear())
    first = next((it.at for it in changes if it.is_denial), float("inf"))
    rates = ", ".join(map(str, CALLS_PER_SECOND))
    return Section(
        f"a budget that {len(CALLS_PER_SECOND)} holders use up; calls a second: {rates}",
        [
            Figure("used at the first refusal", _used(changes, first) / ceiling * 100, "%"),
            Figure(
                f"used {AFTER_SECONDS} s later",
                _used(changes, first + AFTER_SECONDS) / ceiling * 100, "%",
            ),
            Figure("used at most, at any moment", _most(changes) / ceiling * 100, "%", at_most=100),
        ],
    )  # fmt: skip


def _used(changes: Sequence[Change], until: float) -> int:
    return sum(it.tokens for it in changes if it.at <= until)


def _most(changes: Sequence[Change]) -> int:
    used = most = 0
    for change in changes:
        used += change.tokens
        most = max(most, used)
    return most
