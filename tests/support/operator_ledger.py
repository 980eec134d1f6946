"""A real ledger file with the calls that a test needs, for reports and commands of operators."""

import asyncio
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, tzinfo
from pathlib import Path
from typing import Any, TypeVar

from sidecar.domain.clock import SECOND_US, to_us
from sidecar.domain.decisions import Decision, Limit, ReservationRequest
from sidecar.ledger import ledger_file
from sidecar.ledger.reports import Reports
from sidecar.ledger.sqlite import SqliteLedger
from support.reservations import reservation, settlement

T = TypeVar("T")

NOON = to_us(datetime(2100, 11, 10, 12, tzinfo=UTC))
"""Ahead of every clock, so that a command takes the ledger's time: it is this, for all."""

MINUTE = 60 * SECOND_US
HOUR = 60 * MINUTE
DAY = 24 * HOUR


class OperatorLedger:
    """A real ledger file, with short methods to write calls."""

    def __init__(self, path: Path, zone: tzinfo = UTC) -> None:
        """Open or create it."""
        self.path = path
        self._loop = asyncio.new_event_loop()
        self.ledger = SqliteLedger(path, zone)

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine to its end."""
        return self._loop.run_until_complete(work)

    def decide(self, proposed: ReservationRequest) -> Decision:
        """Decide one call."""
        return self.run(self.ledger.decide(proposed))

    def hold(self, at_us: int, *limits: Limit, tokens: int = 100, **call: Any) -> str:
        """Hold the worst case of a call, which has to be allowed; return the hold's id."""
        decision = self.decide(reservation(at_us, *limits, tokens=tokens, **call))
        assert decision.hold_id, decision.reasons
        return decision.hold_id

    def spend(
        self, at_us: int, *limits: Limit, tokens: int = 100, held: int | None = None, **call: Any
    ) -> None:
        """Hold and settle a call; a token costs 1000 nano-USD."""
        hold = self.hold(at_us, *limits, tokens=tokens if held is None else held, **call)
        self.run(self.ledger.settle(hold, settlement(at_us, tokens)))

    def settle(self, hold_id: str, at_us: int, tokens: int) -> None:
        """Settle a hold."""
        self.run(self.ledger.settle(hold_id, settlement(at_us, tokens)))

    def release(self, hold_id: str, at_us: int) -> None:
        """Release a hold."""
        self.run(self.ledger.release(hold_id, "not sent", at_us))

    def expire(self, at_us: int) -> None:
        """Charge the holds that are due."""
        self.run(self.ledger.expire(at_us))

    def adjust(self, rule: str, scope: str, amount: int, at_us: int) -> None:
        """Correct a budget, signed by a test."""
        self.run(self.ledger.adjust(rule, scope, amount, "ada@example.com", "a test", at_us))

    def reports(self, at_us: int = NOON, zone: tzinfo = UTC) -> Reports:
        """Return the reports of the ledger, at a time."""
        return Reports(ledger_file.open_reader(self.path), at_us, zone)

    def close(self) -> None:
        """Close it."""
        self.run(self.ledger.close())
        self._loop.close()


@contextmanager
def operator_ledger(path: Path, zone: tzinfo = UTC) -> Iterator[OperatorLedger]:
    """Open an OperatorLedger for the duration of a block."""
    opened = OperatorLedger(path, zone)
    try:
        yield opened
    finally:
        opened.close()
