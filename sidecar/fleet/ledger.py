"""The ledger of a holder: a ledger whose budgets are the fleet's."""

from collections.abc import Callable
from datetime import UTC, tzinfo
from pathlib import Path
from typing import Any, TypeVar

from sidecar.domain.decisions import Budget, Decision, ReservationRequest
from sidecar.domain.windows import Calendar
from sidecar.ledger.change import NotYetError
from sidecar.ledger.fleet_balances import (
    Asker,
    FleetBalances,
    FleetCalendar,
    FleetGroupBalances,
    FleetPreviewBalances,
)
from sidecar.ledger.protocol import NotAdjustableError
from sidecar.ledger.shares import IN_FLEET, Holder, read_holder, write_holder
from sidecar.ledger.sqlite import SqliteLedger

T = TypeVar("T")


class FleetLedger(SqliteLedger):
    """A ledger that admits calls up to its shares, and has the fleet's balances in answers."""

    balances: FleetGroupBalances

    def __init__(self, path: Path, asker: Asker, zone: tzinfo = UTC, **others: Any) -> None:
        """Open or create the file; see SqliteLedger. The asker is asked for larger shares."""
        self._asker = asker
        self._calendar = calendar = FleetCalendar(zone)
        super().__init__(path, zone, **others)
        shares = self.balances.shares
        self._committed_balances = FleetBalances(self._reader, calendar, self._time, shares)
        self._preview_balances = FleetPreviewBalances(self._reader, calendar, self._time, shares)

    def _group_balances(self, _: Calendar) -> FleetGroupBalances:
        self.balances = FleetGroupBalances(self._writer, self._calendar, self._time, self._asker)
        return self.balances

    def _decider(self) -> Callable[[ReservationRequest], Decision]:
        since_us: int | None = None

        def decide(reservation: ReservationRequest) -> Decision:
            nonlocal since_us
            self.balances.waits_since_us = since_us
            self.balances.hold_ttl_us = reservation.call.hold_ttl_us
            try:
                return self._decide(reservation)
            except NotYetError as not_yet:
                since_us = not_yet.since_us
                raise

        return decide

    def _forget(self) -> None:
        super()._forget()
        self.balances.shares.forget()

    async def in_transaction(self, work: Callable[[], T]) -> T:
        """Run work on the balances and shares in the next group; return its durable result."""
        return await self._commits.run(work)

    def holder(self) -> Holder | None:
        """Return this ledger's row as a holder."""
        return read_holder(self._writer)

    def write_holder(self, holder: Holder) -> None:
        """Write it, in a transaction."""
        write_holder(self._writer, holder)

    async def adjust(self, *_: Any, **__: Any) -> Budget:
        """Refuse: a fleet's budgets are adjusted in its books."""
        raise NotAdjustableError(IN_FLEET)
