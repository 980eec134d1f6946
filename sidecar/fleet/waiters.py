"""Calls that wait for shares: what they ask for, and when they are decided again."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from sidecar.domain.clock import SECOND_US, Clock
from sidecar.domain.errors import SidecarError
from sidecar.domain.sharing import BudgetKey
from sidecar.fleet.protocol import Entry, FleetUnreachableError
from sidecar.ledger.change import NotYetError
from sidecar.ledger.fleet_balances import Lack

PATIENCE_SECONDS = 1.0
"""A call waits no longer for the books."""
RETURNS_US = 800_000
"""A call waits so long for what others do not use, before it is denied."""
REFUSED_US = 500_000
"""How long an amount that the books had no room for is denied without asking (G9)."""


class _Refusal(NamedTuple):
    """The books have no room for more than an amount, for a moment."""

    most: int
    until_us: int


@dataclass(eq=False, slots=True)
class Waiter:
    """A call that waits for shares."""

    lacks: Sequence[Lack]
    takes: Mapping[BudgetKey, int]
    """All that it takes: of a budget that has it, this is not given back meanwhile."""
    future: asyncio.Future[None]
    since_us: int
    timer: asyncio.TimerHandle | None = None


class Waiters:
    """The calls that wait, in their order."""

    def __init__(self, steady_clock: Clock) -> None:
        """Begin without any."""
        self._steady = steady_clock
        self._waiters: list[Waiter] = []
        self._refusals: dict[BudgetKey, _Refusal] = {}
        self.has_room = False
        """Whether a call waits for room that there is."""

    def __bool__(self) -> bool:
        """Whether a call waits."""
        return bool(self._waiters)

    def all(self) -> Sequence[Waiter]:
        """Return the calls that wait now."""
        return tuple(self._waiters)

    def add(
        self, lacks: Sequence[Lack], takes: Mapping[BudgetKey, int], since_us: int | None
    ) -> NotYetError:
        """Let a call wait, which may have waited before; return what it waits for."""
        loop, now_us = asyncio.get_running_loop(), self._steady()
        since_us = now_us if since_us is None else since_us
        waiter = Waiter(lacks, takes, loop.create_future(), since_us)
        patience_seconds = PATIENCE_SECONDS - (now_us - waiter.since_us) / SECOND_US
        give_up = FleetUnreachableError("no share came within a second")
        waiter.timer = loop.call_later(max(0.0, patience_seconds), self._fail, waiter, give_up)
        self._waiters.append(waiter)
        return NotYetError(waiter.future, waiter.since_us)

    def is_refused(self, key: BudgetKey, amount: int) -> bool:
        """See Asker.is_refused."""
        refusal = self._refusals.get(key)
        return refusal is not None and amount > refusal.most and self._steady() < refusal.until_us

    def fail(self, error: SidecarError) -> None:
        """Let all of them fail."""
        for waiter in self.all():
            self._fail(waiter, error)

    def tell(
        self,
        waiters: Sequence[Waiter],
        entries: Mapping[BudgetKey, Entry],
        free: Callable[[Lack, Entry], int],
        answered_us: int,
    ) -> None:
        """Let calls be decided again whose shares have grown, or for which there is no room.

        `free` says what of a share a call may use. The books answered at `answered_us`.
        """
        now_us, self.has_room = self._steady(), False
        self._refusals = {
            key: refusal for key, refusal in self._refusals.items() if refusal.until_us > now_us
        }
        for waiter in waiters:
            lacking = [
                (lack, entries[lack.key], free(lack, entries[lack.key]))
                for lack in waiter.lacks
                if lack.key in entries
            ]
            lacking = [(lack, entry, has) for lack, entry, has in lacking if lack.amount > has]
            if any(entry.is_closed for _, entry, _ in lacking):
                text = "they grant nothing now: they gather what all holders have, or have another"
                self._fail(waiter, FleetUnreachableError(f"{text} time"))
            elif not lacking or any(self._is_refused(waiter, *one, answered_us) for one in lacking):
                self._end(waiter)

    def _is_refused(
        self, waiter: Waiter, lack: Lack, entry: Entry, has: int, answered_us: int
    ) -> bool:
        """Whether a call can be denied now: what others do not use may come back in a moment."""
        most = has + entry.share.room
        if lack.amount <= most:
            self.has_room = True
            return False
        if entry.share.others_free and self._steady() - waiter.since_us < RETURNS_US:
            return False
        self._refusals[lack.key] = _Refusal(most, answered_us + REFUSED_US)
        return True

    def _fail(self, waiter: Waiter, error: SidecarError) -> None:
        if not waiter.future.done():
            waiter.future.set_exception(error)
        self._end(waiter)

    def _end(self, waiter: Waiter) -> None:
        if waiter.timer is not None:
            waiter.timer.cancel()
        if not waiter.future.done():
            waiter.future.set_result(None)
        if waiter in self._waiters:
            self._waiters.remove(waiter)
