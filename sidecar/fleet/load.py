"""Load: what a ledger uses of each budget, and so what it asks for and gives back."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from sidecar.domain.clock import SECOND_US
from sidecar.domain.decisions import Limit
from sidecar.domain.sharing import (
    MAX_LATE_US,
    TIMELESS,
    BudgetKey,
    Demand,
    Share,
    kept,
    target_free,
)
from sidecar.fleet.protocol import Entry

SMOOTHING_SECONDS = 10.0
"""How fast the measured load follows the real one."""

IDLE_PERIODS = 2
"""After so many exchanges without a call, a budget's free share is given back."""


@dataclass(slots=True)
class Use:
    """What calls have taken of one budget."""

    key: BudgetKey
    limit: Limit
    """Of the last call."""
    end_us: int
    largest: int = 0
    """The largest amount of a call."""
    taken: int = 0
    """Since the last exchange."""
    used: int = 0
    """Spent and held, when the last exchange began."""
    booked: Demand | None = None
    """What the books have of it, after the last exchange that named it."""
    per_second: float = 0.0
    idle_periods: int = 0
    is_wanted_elsewhere: bool = False
    room: int = 0
    """In nobody's share, as of the last exchange."""

    def note(self, limit: Limit, amount: int, largest: int) -> None:
        """Count what calls have taken together, of which the largest is one."""
        self.limit = limit
        self.taken += amount
        self.largest = max(self.largest, largest)

    def measure(self, seconds: float) -> None:
        """End a period of this length."""
        weight = 1 - math.exp(-seconds / SMOOTHING_SECONDS)
        self.per_second += weight * (self.taken / seconds - self.per_second)
        if not self.taken:
            self.idle_periods += 1
        self.taken = 0

    def target(self, free: int, holders: int) -> int:
        """Return what should be free in the share."""
        return target_free(self.per_second, self.room, free, holders, self.largest)

    def kept(self, share: Share, used: int, holders: int, *, leaving: bool) -> int:
        """Return what is kept of the share when nothing is asked for."""
        target = self.target(share.granted - used, holders)
        idle = leaving or self.idle_periods >= IDLE_PERIODS
        return kept(
            share.granted, used, target, wanted_elsewhere=self.is_wanted_elsewhere, idle=idle
        )

    def demand(
        self, share: Share, spent: int, held: int, holders: int, waiting: Sequence[int]
    ) -> Demand:
        """Return what is asked for, with the amounts of calls that wait in their order."""
        free = max(0, share.granted - spent - held)
        taken = _most_together(waiting, free + self.room)
        need, wish = max(0, taken - free), sum(waiting) - taken
        if not self.is_wanted_elsewhere:
            wish += max(0, self.target(free, holders) - free)
        return Demand(share.granted, spent, held, need, wish)

    def hear(self, entry: Entry) -> None:
        """Note what the books say. A share that is given back has to be said."""
        self.is_wanted_elsewhere = entry.is_short
        self.room = entry.share.room
        if self.booked is not None:
            self.booked = Demand(entry.share.granted, self.booked.spent, self.booked.held)

    def has_news(self, demand: Demand) -> bool:
        """Whether the books have to hear of it: of a timeless share always, as silence ends it."""
        return demand != self.booked or (self.key.window in TIMELESS and demand.have > 0)

    @property
    def is_unused(self) -> bool:
        """Whether it can be forgotten until its next call."""
        return self.idle_periods > IDLE_PERIODS

    def is_over(self, now_us: int) -> bool:
        """Whether nothing is granted of its window any more."""
        return self.end_us + MAX_LATE_US <= now_us


def _most_together(waiting: Sequence[int], room: int) -> int:
    """Return what the calls take that may have room, at least one; the books know what room is."""
    taken = 0
    for amount in waiting:
        if taken + amount <= room:
            taken += amount
    return taken or min(waiting, default=0)


class Load:
    """The uses of a ledger's budgets."""

    def __init__(self) -> None:
        """Begin without any."""
        self._uses: dict[BudgetKey, Use] = {}
        self._measured_us: int | None = None

    def know(self, key: BudgetKey, end_us: int, limit: Limit) -> Use:
        """Return the use of a budget that a call has changed, or asks for."""
        use = self._uses.get(key)
        if use is None:
            # What room there is, the books say; until then, all of it.
            use = self._uses[key] = Use(key, limit, end_us, room=limit.ceiling or 0)
        use.idle_periods = 0
        return use

    def expect(self, before: Use, key: BudgetKey, end_us: int) -> None:
        """Expect the same load in the next window of a budget as in this one."""
        use = self.know(key, end_us, before.limit)
        use.per_second, use.largest = before.per_second, before.largest

    def measure(self, steady_us: int) -> None:
        """End the period of all uses."""
        before, self._measured_us = self._measured_us, steady_us
        if before is not None and steady_us > before:
            for use in self._uses.values():
                use.measure((steady_us - before) / SECOND_US)

    def restate(self) -> None:
        """Say all again."""
        for use in self._uses.values():
            use.booked = None

    def drop(self, key: BudgetKey) -> None:
        """Forget a budget, whose window has ended, or which nobody uses."""
        self._uses.pop(key, None)

    def get(self, key: BudgetKey) -> Use | None:
        """Return the use of a budget."""
        return self._uses.get(key)

    def all(self) -> Iterable[Use]:
        """Return all of them."""
        return tuple(self._uses.values())
