"""Decisions a second of many processes on one budget: escrow, beside a row that all update."""

import statistics
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from fleet.postgres_server import PostgresServer

from bench.disk import fdatasync_ms
from bench.fleet import contended_row, holder
from bench.fleet.books import DISK, books
from bench.fleet.contended_row import RowJob
from bench.fleet.figures import Figure, Section, compared, number
from bench.fleet.holder import Speed, SpeedJob
from bench.fleet.plan import Plan
from bench.fleet.workers import together

ROW, ROW_SETTLED = "a contended row", "a contended row and a hold row, settled"
FLEET, FLEET_SETTLED, FLEET_IN_MEMORY = (
    "decisions of a fleet", "decisions of a fleet, settled", "decisions of a fleet, ledgers in memory",
)  # fmt: skip
ALONE = "ledgers without a fleet"

ROOM = 10**15
"""A ceiling above the load, in tokens."""
MEMORY = Path("/dev/shm")  # noqa: S108 - a folder of our own in it
AT_LEAST = 10.0


@dataclass(frozen=True, slots=True)
class Rate:
    """What a load has done."""

    per_second: float
    decided: int = 0
    unavailable: int = 0
    exchanges: int = 0
    cpu_us: float = 0.0


class Loads:
    """The loads, each of all processes."""

    def __init__(self, plan: Plan, server: PostgresServer, folder: Path) -> None:
        """Put ledgers into this folder."""
        self._plan, self._server, self._folder = plan, server, folder

    def row(self, *, settles: bool) -> Rate:
        """Update one row of PostgreSQL."""
        plan = self._plan
        with books(self._server) as made:
            made.sql(*contended_row.TABLES)
            job = RowJob(made.url_file, plan.warm_up_seconds / 3, plan.seconds, settles)
            decided = sum(together(contended_row.run, [job] * plan.processes))
        return Rate(decided / plan.seconds, decided)

    def fleet(self, *, settles: bool, folder: Path | None = None) -> Rate:
        """Decide in a fleet."""
        with books(self._server) as made:
            return self._ledgers(made.url_file, folder or self._folder, settles=settles)

    def alone(self) -> Rate:
        """Decide without a fleet, each ledger by a budget of its own."""
        return self._ledgers(None, self._folder, settles=False)

    def _ledgers(self, url_file: Path | None, folder: Path, *, settles: bool) -> Rate:
        plan = self._plan
        with tempfile.TemporaryDirectory(dir=folder) as ledgers:
            jobs = [
                SpeedJob(
                    url_file, Path(ledgers, f"{number}.sqlite"), ROOM, plan.warm_up_seconds,
                    plan.seconds, settles,
                )
                for number in range(plan.processes)
            ]  # fmt: skip
            speeds: list[Speed] = together(holder.run_fast, jobs)
        decided = sum(it.decided for it in speeds)
        cpu_seconds = sum(it.cpu_seconds for it in speeds)
        return Rate(
            decided / plan.seconds,
            decided,
            unavailable=sum(it.unavailable for it in speeds),
            exchanges=sum(it.exchanges for it in speeds),
            cpu_us=cpu_seconds / max(1, decided) * 1e6,
        )


def measure(plan: Plan, server: PostgresServer, folder: Path) -> Section:
    """Measure each load in turn, in rounds."""
    loads = Loads(plan, server, folder)
    named: dict[str, Callable[[], Rate]] = {
        ROW: lambda: loads.row(settles=False),
        ROW_SETTLED: lambda: loads.row(settles=True),
        FLEET: lambda: loads.fleet(settles=False),
        FLEET_SETTLED: lambda: loads.fleet(settles=True),
        ALONE: loads.alone,
    }
    if MEMORY.is_dir():
        named[FLEET_IN_MEMORY] = lambda: loads.fleet(settles=False, folder=MEMORY)
    found: dict[str, list[Rate]] = {name: [] for name in named}
    for backwards in range(plan.rounds):
        for name in reversed(named) if backwards % 2 else named:
            found[name].append(named[name]())
    syncs = f"{number(fdatasync_ms(DISK))} ms, of the ledgers {number(fdatasync_ms(folder))} ms"
    title = f"decisions of {plan.processes} processes; fdatasync of PostgreSQL's disk: {syncs}"
    return Section(title, list(_figures(found)))


def _figures(found: Mapping[str, Sequence[Rate]]) -> Iterator[Figure]:
    rates = {name: statistics.median(it.per_second for it in found[name]) for name in found}
    cpu_us = {name: statistics.median(it.cpu_us for it in found[name]) for name in found}
    for name, yardstick in (
        (FLEET, ROW), (FLEET_IN_MEMORY, ROW), (FLEET_SETTLED, ROW_SETTLED),
    ):  # fmt: skip
        if name in rates:
            yield compared(name, rates[name], "/s", yardstick, rates[yardstick], at_least=AT_LEAST)
    yield compared(f"{FLEET}, to ledgers alone", rates[FLEET], "/s", ALONE, rates[ALONE])
    yield compared("CPU of a decision, to ledgers alone", cpu_us[FLEET], "µs", ALONE, cpu_us[ALONE])
    rounds = [it for name in (FLEET, FLEET_SETTLED) for it in found[name]]
    decided, exchanges = sum(it.decided for it in rounds), sum(it.exchanges for it in rounds)
    beside = f"{decided:,} decisions, {exchanges:,} exchanges"
    yield Figure("decisions to an exchange", decided / max(1, exchanges), "", beside)
    unavailable = sum(it.unavailable for it in rounds)
    percent = unavailable / max(1, unavailable + decided) * 100
    yield Figure("UNAVAILABLE: no share within a second", percent, "%")
