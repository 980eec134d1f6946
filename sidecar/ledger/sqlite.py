"""The ledger in one SQLite file: WAL mode, synchronous=FULL, one writer."""

import os
import sqlite3
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from datetime import UTC, tzinfo
from pathlib import Path
from typing import TypeVar

from sidecar.domain.alerts import UNNAMED, Alert, DeliveryOutcome, Origin
from sidecar.domain.decisions import (
    Budget,
    Charge,
    Decision,
    Hold,
    HoldState,
    ReservationRequest,
    Settlement,
)
from sidecar.domain.windows import Calendar, Window
from sidecar.ledger import ledger_file
from sidecar.ledger.adjustments import Adjustments
from sidecar.ledger.admission import Admission
from sidecar.ledger.alerts import Alerts
from sidecar.ledger.chain import DecisionChain
from sidecar.ledger.change import Change, known, same
from sidecar.ledger.committed_reads import CommittedReads, reading
from sidecar.ledger.denials import DEFAULT_MAX_DENIALS, Denials
from sidecar.ledger.file_watch import FileWatch
from sidecar.ledger.group_balances import GroupBalances
from sidecar.ledger.group_commit import GroupCommit
from sidecar.ledger.key_usage import KeyUsage
from sidecar.ledger.outbox import Outbox
from sidecar.ledger.protocol import (
    CommitWatcher,
    HoldUnknownError,
    LedgerRefusedError,
    LedgerUnavailableError,
    NotAdjustableError,
    RequestIdReusedError,
)
from sidecar.ledger.reserve import Reserve
from sidecar.ledger.retention import Retention
from sidecar.ledger.settlement import MAX_PER_TRANSACTION, Settlements

R = TypeVar("R")

_FULL = "its disk is full; what room is left is kept for settlements"


class SqliteLedger(CommittedReads):
    """The `OperatorLedger` of one sidecar. Belongs to one event loop."""

    def __init__(
        self,
        path: Path,
        zone: tzinfo = UTC,
        channels: Sequence[str] = ("log",),
        entropy: Callable[[int], bytes] = os.urandom,
        origin: Origin = UNNAMED,
        overrun_alert_factor: int = 10,
        max_denials: int = DEFAULT_MAX_DENIALS,
    ) -> None:
        """Open or create the file, and lock out other writers.

        Ids take their random part from the entropy. Each alert names the origin and is due for
        each of the channels. A usage of `overrun_alert_factor` times its hold has an alert of
        its own.
        The latest `max_denials` denials are kept.
        Raises LedgerRefusedError, which says why and what to do.
        """
        given, path = path, ledger_file.canonical_path(path)
        with ExitStack() as opened:
            # With the room of the reserve: on a full disk, even a start needs room.
            writer = opened.enter_context(ledger_file.sole_writer(path))
            # Reads have a connection of their own: they see only what is committed
            # and never wait for a commit. It closes first, so that the writer,
            # which closes last, folds the WAL into the file.
            reader = ledger_file.open_reader(path)
            opened.callback(reader.close)
            self._writer = writer
            self._reserve = Reserve(path)
            calendar = Calendar(zone)
            with _starting(path):
                super().__init__(path, reader, FileWatch(given, path), calendar, entropy)
                self._reserve.check(self._ledger_bytes())
            self._opened = opened.pop_all()
        self._opened.callback(self._leave_place)
        self._balances = balances = self._group_balances(calendar)
        self._alerts = Alerts(writer, balances, channels, entropy, origin, overrun_alert_factor)
        self._chain = DecisionChain(writer)
        self._key_usage = KeyUsage(writer)
        self._denials = Denials(writer, self._key_usage, max_denials)
        self._admission = Admission(
            writer, balances, self._alerts, self._chain, self._denials, entropy
        )
        self._settlements = Settlements(writer, balances, self._alerts)
        self._retention = Retention(writer, balances, self._chain, self._key_usage)
        self._adjustments = Adjustments(writer, balances)
        self._outbox = Outbox(writer)
        self._on_raised: Callable[[Sequence[Alert]], None] = lambda _: None
        self._commits = GroupCommit(
            writer,
            refusals=(RequestIdReusedError, HoldUnknownError, NotAdjustableError),
            finish=balances.write,
            rolled_back=self._forget,
            committed=self._committed,
            failed=self._failed,
            check=self._watch.check,
            make_room=self._make_room,
        )
        self.watchers: list[CommitWatcher] = []
        """Called back with the result of each commit."""

    def _group_balances(self, calendar: Calendar) -> GroupBalances:
        """Return the balances of calls that are decided."""
        return GroupBalances(self._writer, calendar, self._time)

    async def decide(self, reservation: ReservationRequest) -> Decision:
        """See Ledger.decide."""
        return await self.decide_in_group(lambda: reservation, same)

    def decide_in_group(
        self, propose: Callable[[], ReservationRequest], then: Callable[[Decision], R]
    ) -> Change[R]:
        """See Ledger.decide_in_group."""
        if not self._reserve.is_full:
            return self._commits.submit(propose, self._decider(), then)
        recorded = self.recorded(propose())
        if recorded is None:
            raise LedgerUnavailableError(_FULL)
        return known(then(recorded))

    def _decider(self) -> Callable[[ReservationRequest], Decision]:
        """Return what decides one call, perhaps more than once."""
        return self._decide

    def _decide(self, reservation: ReservationRequest) -> Decision:
        # An expired hold takes no place in a concurrent limit, so expired holds are ended
        # first. They stay ended if the call is then denied. One transaction ends only so many;
        # later ones end the rest.
        if self._settlements.closed[HoldState.EXPIRED] < MAX_PER_TRANSACTION and any(
            line.limit.window is Window.CONCURRENT for line in reservation.lines
        ):
            self._settlements.expire(reservation.at_us)
        return self._admission.decide(reservation)

    def _forget(self) -> None:
        self._balances.forget()
        self._admission.forget()
        self._chain.forget()
        self._denials.forget()
        self._adjustments.forget()
        self._alerts.forget()
        self._settlements.closed.clear()
        self._key_usage.forget()

    def _committed(self, requests: int, seconds: float) -> None:
        if raised := self._alerts.committed():
            self._on_raised(raised)
        for watcher in self.watchers:
            watcher.committed(requests, seconds, self._settlements.closed)
        self._settlements.closed.clear()

    def _failed(self, why: str) -> None:
        for watcher in self.watchers:
            watcher.failed(why)

    async def settle(self, hold_id: str, settlement: Settlement) -> Charge:
        """See Ledger.settle."""
        return await self.settle_in_group(hold_id, lambda _: settlement, same)

    def settle_in_group(
        self,
        hold_id: str,
        settlement_of: Callable[[Hold], Settlement],
        then: Callable[[Charge], R],
        owner: str = "",
    ) -> Change[R]:
        """See Ledger.settle_in_group."""
        return self._commits.submit(
            lambda: self._settlements.prepare(hold_id, owner, settlement_of),
            self._settlements.settle,
            then,
            firm=True,
            frees_room=True,
        )

    async def release(self, hold_id: str, reason: str, at_us: int) -> Charge:
        """See Ledger.release."""
        return await self.release_in_group(hold_id, reason, lambda: at_us, same)

    def release_in_group(
        self,
        hold_id: str,
        reason: str,
        at_us: Callable[[], int],
        then: Callable[[Charge], R],
        owner: str = "",
    ) -> Change[R]:
        """See Ledger.release_in_group."""
        return self._commits.submit(
            lambda: self._settlements.read(hold_id, owner),
            lambda found: self._settlements.release(found, reason, at_us()),
            then,
            firm=True,
            frees_room=True,
        )

    async def adjust(
        self, rule: str, scope: str, amount: int, signed_by: str, reason: str, at_us: int
    ) -> Budget:
        """See Ledger.adjust."""
        return await self._commits.run(
            lambda: self._adjustments.adjust(rule, scope, amount, signed_by, reason, at_us)
        )

    async def expire(self, at_us: int) -> int:
        """See Ledger.expire."""
        return await self._commits.run(lambda: self._settlements.expire(at_us), frees_room=True)

    async def prune(self, at_us: int, retention_us: int) -> int:
        """See Ledger.prune."""
        return await self._commits.run(lambda: self._prune(at_us, retention_us), frees_room=True)

    def _prune(self, at_us: int, retention_us: int) -> int:
        before_us = self._time.advance(at_us) - retention_us
        self._outbox.prune(before_us)
        return self._retention.prune(at_us, retention_us) + self._denials.prune(before_us)

    async def burn(self, at_us: int) -> int:
        """See Ledger.burn."""
        return await self._commits.run(lambda: self._alerts.burn(at_us))

    async def track(self, key_ids: Collection[str], at_us: int) -> None:
        """See KeyLedger.track."""
        await self._commits.run(lambda: self._key_usage.track(key_ids, self._time.advance(at_us)))

    async def count_usage(self) -> int:
        """See KeyLedger.count_usage."""
        return await self._commits.run(self._key_usage.count)

    async def keys_in_use(self, at_us: int) -> int:
        """See KeyLedger.keys_in_use."""
        return await self._commits.run(lambda: self._alerts.keys_in_use(at_us))

    def on_raised(self, callback: Callable[[Sequence[Alert]], None]) -> None:
        """See AlertOutbox.on_raised."""
        self._on_raised = callback

    async def record(self, channel: str, outcomes: Sequence[DeliveryOutcome], now_us: int) -> None:
        """See AlertOutbox.record."""
        await self._commits.run(lambda: self._outbox.record(channel, outcomes, now_us))

    async def probe(self) -> None:
        """See Ledger.probe."""
        await self._commits.run(self._write_nothing)

    def _write_nothing(self) -> None:
        # SQLite writes the header's page even though the number does not change.
        (version,) = self._writer.execute("PRAGMA user_version").fetchone()
        self._writer.execute(f"PRAGMA user_version = {version}")

    async def keep_reserve(self) -> None:
        """See OperatorLedger.keep_reserve."""
        with reading():
            await self._commits.between(self._make_room)

    def _make_room(self) -> None:
        """Keep the reserve; on a full disk, use its room first to fold the WAL into the file.

        As long as another process reads, that is not possible, and its room is kept for later.
        """
        self._reserve.keep(self._ledger_bytes())
        if self._reserve.is_full:
            self._reserve.free()
            with suppress(sqlite3.Error):
                self._writer.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            self._reserve.keep(self._ledger_bytes())

    def _ledger_bytes(self) -> int:
        """Return the size of the file after the next checkpoint."""
        (pages,) = self._writer.execute("PRAGMA page_count").fetchone()
        (page_bytes,) = self._writer.execute("PRAGMA page_size").fetchone()
        return int(pages * page_bytes)

    def problem(self) -> str:
        """Return why calls wait without end, or are not decided; empty while all is well."""
        return _FULL if self._reserve.is_full else self._commits.problem()

    @property
    def waiting(self) -> int:
        """See Ledger.waiting."""
        return self._commits.waiting

    async def close(self) -> None:
        """See Ledger.close."""
        await self._commits.close()
        self._opened.close()

    def _leave_place(self) -> None:
        """Close the writer before the reader, if the files are out of their place.

        The last connection that closes deletes the WAL by its name, and there may be another
        ledger's by now. So the writer folds its WAL into its file, and is not the last.
        """
        if self._watch.problem():
            with suppress(sqlite3.Error):  # the WAL stays where it was moved
                self._writer.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            self._writer.close()


@contextmanager
def _starting(path: Path) -> Iterator[None]:
    try:
        yield
    except (sqlite3.Error, OSError) as error:
        raise LedgerRefusedError(
            f"{path}: cannot be read: {error}; look at its disk, and start again"
        ) from error
