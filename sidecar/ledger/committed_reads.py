"""Committed reads: what is on disk, for callers and operators, on a connection of its own.

It sees only what is committed, and never waits for a commit.
"""

import sqlite3
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from sidecar.domain.alerts import AlertGroup, Delivery
from sidecar.domain.decisions import (
    Budget,
    Decision,
    DenialCounts,
    Hold,
    Limit,
    Meter,
    OpenHold,
    ReservationRequest,
)
from sidecar.domain.windows import Calendar
from sidecar.ledger import latest_limits, open_holds
from sidecar.ledger.admission import check_reservation
from sidecar.ledger.balances import Balances, LedgerTime, PreviewBalances
from sidecar.ledger.denials import denial_counts
from sidecar.ledger.disk_use import DiskUse, disk_use
from sidecar.ledger.file_watch import FileWatch
from sidecar.ledger.holds import read_hold
from sidecar.ledger.ids import NO_ROW, unique_part
from sidecar.ledger.key_usage import revoked_versions
from sidecar.ledger.outbox import Outbox
from sidecar.ledger.protocol import LedgerUnavailableError, NotAdjustableError
from sidecar.ledger.readers import foreign_readers
from sidecar.ledger.replays import recorded_decision


class CommittedReads:
    """The methods of an `OperatorLedger` that read."""

    def __init__(
        self,
        path: Path,
        connection: sqlite3.Connection,
        watch: FileWatch,
        calendar: Calendar,
        entropy: Callable[[int], bytes],
    ) -> None:
        """Use the connection, as long as the watch finds the file in its place."""
        self._path = path
        self._reader = connection
        self._watch = watch
        self._entropy = entropy
        self._time = time = LedgerTime(connection)
        self._committed_balances = Balances(connection, calendar, time)
        self._preview_balances = PreviewBalances(connection, calendar, time)
        self._committed_outbox = Outbox(connection)
        self.latest_us = time.latest_us
        """The time of the file's last decision, in microseconds: the clock must not be behind."""
        (self.ledger_id,) = connection.execute("SELECT ledger_id FROM ledger_identity").fetchone()

    def recorded(self, reservation: ReservationRequest) -> Decision | None:
        """See Ledger.recorded."""
        with reading():
            self._watch.check()
            at_us = self._time.peek(reservation.at_us)
            return recorded_decision(self._reader, reservation.call, at_us)

    def preview(self, reservation: ReservationRequest) -> Decision:
        """See Ledger.preview."""
        with reading():
            self._watch.check()
            at_us = self._time.peek(reservation.at_us)
            unique = unique_part(NO_ROW, self._entropy)
            decision, _ = check_reservation(
                self._preview_balances, reservation, at_us, unique, hold=False
            )
            return decision

    def hold(self, hold_id: str) -> Hold:
        """See Ledger.hold."""
        with reading():
            return read_hold(self._reader, hold_id).hold

    def budgets(self, limits: Sequence[Limit], at_us: int) -> tuple[Budget, ...]:
        """See Ledger.budgets."""
        with reading():
            at_us = self._time.peek(at_us)
            return tuple(self._committed_balances.of(limit, at_us).budget() for limit in limits)

    def open_holds(self, after: tuple[int, int], at_most: int) -> Sequence[OpenHold]:
        """See OperatorLedger.open_holds."""
        with reading():
            return open_holds.page(self._reader, after, at_most)

    def count_open_holds(self) -> int:
        """See OperatorLedger.count_open_holds."""
        with reading():
            return open_holds.count(self._reader)

    def denial_counts(self) -> DenialCounts:
        """See OperatorLedger.denial_counts."""
        with reading():
            return denial_counts(self._reader)

    def meter_of(self, rule: str) -> Meter:
        """See OperatorLedger.meter_of."""
        with reading():
            limit = latest_limits.latest_limit(self._reader, rule)
        if limit is None:
            raise NotAdjustableError(f"no call has counted on a limit named {rule}")
        return limit.meter

    def counted_rules(self) -> Collection[str]:
        """See OperatorLedger.counted_rules."""
        with reading():
            return latest_limits.rules(self._reader)

    def has_budget(self, rule: str, scope: str) -> bool:
        """See OperatorLedger.has_budget."""
        with reading():
            return latest_limits.has_scope(self._reader, rule, scope)

    def scopes_of(self, rule: str, at_most: int) -> Collection[str]:
        """See OperatorLedger.scopes_of."""
        with reading():
            return list(latest_limits.scopes(self._reader, rule, at_most))

    def time_us(self, at_us: int) -> int:
        """See OperatorLedger.time_us."""
        return self._time.advance(at_us)

    def revoked_versions(self) -> frozenset[str]:
        """See KeyLedger.revoked_versions."""
        with reading():
            return revoked_versions(self._reader)

    def due(
        self,
        channel: str,
        now_us: int,
        at_most: int,
        *,
        group: AlertGroup | None = None,
        without: Sequence[AlertGroup] = (),
    ) -> Sequence[Delivery]:
        """See AlertOutbox.due."""
        with reading():
            return self._committed_outbox.due(
                channel, now_us, at_most, group=group, without=without
            )

    def disk_use(self) -> DiskUse:
        """See OperatorLedger.disk_use."""
        with reading():
            return disk_use(self._path)

    def readers(self) -> Sequence[str]:
        """See OperatorLedger.readers."""
        return foreign_readers(self._path)


@contextmanager
def reading() -> Iterator[None]:
    """Raise LedgerUnavailableError for an error of the file."""
    try:
        yield
    except (sqlite3.Error, OSError) as error:
        raise LedgerUnavailableError(str(error)) from error
