"""Calls that wait for shares: what they ask for, and when they are decided again."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from sidecar.domain.clock import SECOND_US, Clock
from sidecar.domain.decisions import Limit
from sidecar.domain.errors import SidecarError
from sidecar.domain.sharing import BudgetKey
from sidecar.fleet.protocol import Entry, FleetUnreachableError
from sidecar.ledger.change import NotYetError
from sidecar.ledger.fleet_balances import Lack

PATIENCE_SECONDS = 1.0
"""A call waits no longer for the books."""
AGAIN_SECONDS = 0.2
"""How long until the books are asked again for a call that waits, or tried again after an error."""
REFUSED_US = 500_000
"""How long an amount that the books had no room for is denied without asking (G9)."""


class _Refusal(NamedTuple):
    """The books have no room for more than an amount, for a moment."""

    most: int
    ceiling: int
    """Under which that is so, and under any lower one."""
    until_us: int


class Asked:
    """What calls lack of one budget, by the ceilings under which they ask."""

    def __init__(self, before: int | None) -> None:
        """Begin without any; `before` is the ceiling under which the books were asked last."""
        self._before = before
        self._by_ceiling: dict[int | None, tuple[Limit, list[int]]] = {}

    def add(self, lack: Lack) -> None:
        """Add one."""
        self._by_ceiling.setdefault(lack.limit.ceiling, (lack.limit, []))[1].append(lack.amount)

    def next(self) -> tuple[Limit, Sequence[int]]:
        """Return what is asked for at once: under one ceiling, and in turn under another."""
        others = [ceiling for ceiling in self._by_ceiling if ceiling != self._before]
        return self._by_ceiling[others[0] if others else self._before]


class Told(NamedTuple):
    """What the books say of a budget, and under which ceiling they were asked."""

    entry: Entry
    ceiling: int


@dataclass(eq=False, slots=True)
class Waiter:
    """A call that waits for shares."""

    lacks: Sequence[Lack]
    takes: Mapping[BudgetKey, int]
    """All that it takes: of a budget that has it, this is not given back meanwhile."""
    future: asyncio.Future[None]
    since_us: int
    timer: asyncio.TimerHandle | None = None
    no_room: dict[BudgetKey, _Refusal] = field(default_factory=dict)
    """Of what it waits for others to give back, what the books said last."""


class Waiters:
    """The calls that wait, in their order."""

    def __init__(self, steady_clock: Clock) -> None:
        """Begin without any."""
        self._steady = steady_clock
        self._waiters: list[Waiter] = []
        self._ended: Sequence[Waiter] = ()
        """Calls that the last answer ended, which may not have been decided again yet."""
        self._refusals: dict[BudgetKey, _Refusal] = {}
        self._answered_us = self._next_us = 0
        """When the books answered last, and how long it takes until they answer again."""
        self.has_room = False
        """Whether a call waits for room that there is."""

    def __bool__(self) -> bool:
        """Whether a call waits."""
        return bool(self._waiters)

    def all(self) -> Sequence[Waiter]:
        """Return the calls that wait now, and those that the last answer ended, without lacks.

        The next exchange may be prepared before these are decided again: they keep what they take.
        """
        return (*self._waiters, *self._ended)

    def add(
        self, lacks: Sequence[Lack], takes: Mapping[BudgetKey, int], since_us: int | None
    ) -> NotYetError:
        """Let a call wait, which may have waited before; return what it waits for."""
        loop, now_us = asyncio.get_running_loop(), self._steady()
        since_us = now_us if since_us is None else since_us
        waiter = Waiter(lacks, takes, loop.create_future(), since_us)
        patience_seconds = PATIENCE_SECONDS - (now_us - waiter.since_us) / SECOND_US
        waiter.timer = loop.call_later(max(0.0, patience_seconds), self._give_up, waiter)
        self._waiters.append(waiter)
        return NotYetError(waiter.future, waiter.since_us)

    def is_refused(self, key: BudgetKey, amount: int, ceiling: int) -> bool:
        """See Asker.is_refused."""
        refusal = self._refusals.get(key)
        if refusal is None or amount <= refusal.most or ceiling > refusal.ceiling:
            return False
        return self._steady() < refusal.until_us

    def fail(self, error: SidecarError) -> None:
        """Let all of them fail."""
        self._ended = ()
        for waiter in self.all():
            self._fail(waiter, error)

    def tell(
        self,
        waiters: Sequence[Waiter],
        told: Mapping[BudgetKey, Told],
        free: Callable[[Entry], int],
        began_us: int,
        answered_us: int,
    ) -> None:
        """Let calls be decided again whose shares have grown, or for which there is no room.

        `free` says what of a share is not used. The books were asked, and answered, then.
        """
        now_us, self.has_room = self._steady(), False
        ended: list[Waiter] = []
        self._answered_us = answered_us
        # The books may take as long the next time, and a little longer.
        self._next_us = int(AGAIN_SECONDS * SECOND_US) + 2 * (answered_us - began_us)
        self._refusals = {
            key: refusal for key, refusal in self._refusals.items() if refusal.until_us > now_us
        }
        for waiter in waiters:
            lacking = [
                (lack, told[lack.key], free(told[lack.key].entry))
                for lack in waiter.lacks
                if lack.key in told
            ]
            lacking = [
                (lack, one, has)
                for lack, one, has in lacking
                if lack.amount > has or (lack.limit.ceiling or 0) < one.entry.share.ceiling
            ]
            if any(one.entry.is_closed for _, one, _ in lacking):
                text = "they grant nothing now: they gather what all holders have, or have another"
                self._fail(waiter, FleetUnreachableError(f"{text} time"))
            elif not lacking or any(self._is_refused(waiter, *one) for one in lacking):
                self._end(waiter)
                if waiter.lacks:
                    ended.append(replace(waiter, lacks=()))
        self._ended = ended

    def _is_refused(self, waiter: Waiter, lack: Lack, told: Told, has: int) -> bool:
        """Whether a call can be denied now: what others do not use may come back in a moment."""
        most, ceiling = has + told.entry.share.room, lack.limit.ceiling or 0
        if lack.amount <= most or ceiling > told.ceiling:
            self.has_room = self.has_room or ceiling == told.ceiling  # others come in their turn
            return False
        refusal = _Refusal(most, told.ceiling, self._answered_us + REFUSED_US)
        until_us = waiter.since_us + int(PATIENCE_SECONDS * SECOND_US)
        if told.entry.share.others_free and self._steady() + self._next_us < until_us:
            waiter.no_room[lack.key] = refusal
            return False
        self._refusals[lack.key] = refusal
        return True

    def _give_up(self, waiter: Waiter) -> None:
        """Deny a call that has waited for returns, if the books have just said that again."""
        now_us = self._steady()
        last = {key: one for key, one in waiter.no_room.items() if now_us < one.until_us}
        if last:
            self._refusals.update(last)
            self._end(waiter)
        else:
            self._fail(waiter, FleetUnreachableError("no share came within a second"))

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
