"""The spend of single days, read from a ledger in use by threads of its own.

Each read is one snapshot on a connection of its own, so it keeps neither the writer nor the event
loop from working. It ends itself where it would harm the sidecar: see long_read.py.
"""

import asyncio
import sqlite3
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from datetime import tzinfo
from pathlib import Path
from typing import NamedTuple, TypeVar

from sidecar.domain.decisions import Meter
from sidecar.domain.sharing import BudgetKey
from sidecar.domain.spend_report import Dimension, Spend
from sidecar.domain.windows import Calendar, Span, Window
from sidecar.ledger import ledger_file
from sidecar.ledger.balances import LedgerTime
from sidecar.ledger.long_read import LongRead, bounded_read
from sidecar.ledger.protocol import LedgerRefusedError, LedgerUnavailableError
from sidecar.ledger.spend_sums import last_before, spend_sums

T = TypeVar("T")


class Changes(NamedTuple):
    """The days whose spend has changed."""

    at_us: int
    """As of when, by the ledger's time."""
    days: Sequence[Span]
    charged: Mapping[BudgetKey, int]
    """What the budgets of money were charged whose windows touch these days."""


class DailySpend:
    """Reads the spend of days. Each method raises LedgerUnavailableError."""

    def __init__(self, ledger: Path, zone: tzinfo, *, after: int = 0) -> None:
        """Read a ledger's decisions after a row, by the days of a time zone."""
        self._ledger = ledger
        self._zone = zone
        self._after = after
        self._reads: set[LongRead] = set()
        self._is_stopped = False

    async def changes(self, since_us: int, from_us: int, clock_us: int) -> Changes:
        """Return the days from a time on of which calls were charged since another."""

        def read(connection: sqlite3.Connection) -> Changes:
            at_us = LedgerTime(connection).advance(clock_us)
            days = self._changed_days(connection, since_us, from_us)
            return Changes(at_us, days, _charged(connection, days))

        return await self._run(read)

    async def spend(self, day: Span, by: Sequence[Dimension], max_principals: int) -> list[Spend]:
        """Return a day's spend by some dimensions, with the largest principals by name."""

        def read(connection: sqlite3.Connection) -> list[Spend]:
            bounds = {"max_principals": max_principals, "after": self._after}
            return spend_sums(connection, self._zone, by, [day], **bounds)

        return await self._run(read)

    def stop(self) -> None:
        """End the reads that go on, and begin no others."""
        self._is_stopped = True
        for read in tuple(self._reads):
            read.stop()

    def _changed_days(
        self, connection: sqlite3.Connection, since_us: int, from_us: int
    ) -> list[Span]:
        """Return the days, in order; not those of which calls may have been pruned."""
        (pruned_us,) = connection.execute(_PRUNED).fetchone()
        from_us = max(from_us, pruned_us)
        first = max(self._after, last_before(connection, from_us))
        found = connection.execute(_CHANGED, (first, since_us, from_us))
        calendar = Calendar(self._zone)
        days = {calendar.span(Window.DAY, at_us) for (at_us,) in found}
        return sorted(day for day in days if day.start_us >= pruned_us)

    async def _run(self, read: Callable[[sqlite3.Connection], T]) -> T:
        return await asyncio.to_thread(self._read, read)

    def _read(self, read: Callable[[sqlite3.Connection], T]) -> T:
        try:
            with (
                closing(ledger_file.open_reader(self._ledger)) as connection,
                bounded_read(connection, self._ledger) as bounds,
            ):
                self._reads.add(bounds)
                try:
                    if self._is_stopped:
                        bounds.stop()
                    bounds.check()
                    connection.execute("BEGIN")
                    return read(connection)
                finally:
                    self._reads.discard(bounds)
        except (sqlite3.Error, LedgerRefusedError) as error:
            raise LedgerUnavailableError(str(error)) from None


def _charged(connection: sqlite3.Connection, days: Sequence[Span]) -> dict[BudgetKey, int]:
    """Return what budgets of money were charged: those that a fleet has calendar shares of."""
    if not days:
        return {}
    found = connection.execute(_BUDGETS_OF_COST, (days[0].start_us, days[-1].end_us))
    return {
        BudgetKey(rule, Meter.COST, Window(window), scope, start_us): spent
        for rule, window, scope, start_us, spent in found
    }


_PRUNED = "SELECT coalesce(max(before_us), 0) FROM prunings"

# One call of each quarter of an hour: a day of any time zone begins with one.
_CHANGED = """
SELECT max(d.decided_at_us) FROM holds h JOIN decisions d USING (id)
WHERE h.id > ? AND h.closed_at_us >= ? AND d.decided_at_us >= ?
GROUP BY d.decided_at_us / 900000000"""

_BUDGETS_OF_COST = """
SELECT rule, window, scope, window_start_us, spent FROM budgets
WHERE meter = 'cost' AND window NOT IN ('minute', 'concurrent') AND ceiling IS NOT NULL
  AND window_end_us > ? AND window_start_us < ?"""
