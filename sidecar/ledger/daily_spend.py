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

from sidecar.domain.sharing import BudgetKey
from sidecar.domain.spend_report import Dimension, Spend
from sidecar.domain.windows import Span
from sidecar.ledger import ledger_file
from sidecar.ledger.long_read import LongRead, bounded_read
from sidecar.ledger.protocol import LedgerRefusedError, LedgerUnavailableError
from sidecar.ledger.reports import Reports

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

        def read(reports: Reports) -> Changes:
            days = reports.changed_days(since_us, from_us, after=self._after)
            return Changes(reports.at_us, days, reports.charged(days))

        return await self._run(read, clock_us)

    async def spend(self, day: Span, by: Sequence[Dimension], max_principals: int) -> list[Spend]:
        """Return a day's spend by some dimensions, with the largest principals by name."""

        def read(reports: Reports) -> list[Spend]:
            return reports.spend(by, [day], max_principals=max_principals, after=self._after)

        return await self._run(read, 0)

    def stop(self) -> None:
        """End the reads that go on, and begin no others."""
        self._is_stopped = True
        for read in tuple(self._reads):
            read.stop()

    async def _run(self, read: Callable[[Reports], T], clock_us: int) -> T:
        return await asyncio.to_thread(self._read, read, clock_us)

    def _read(self, read: Callable[[Reports], T], clock_us: int) -> T:
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
                    return read(Reports(connection, clock_us, self._zone))
                finally:
                    self._reads.discard(bounds)
        except (sqlite3.Error, LedgerRefusedError) as error:
            raise LedgerUnavailableError(str(error)) from None
