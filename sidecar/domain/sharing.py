"""Sharing: how much of a fleet's ceiling each holder may admit up to, so that decisions stay local.

A holder is one ledger. Its share of a budget is an absolute amount, of which what it has spent
and holds is a part; the rest of it is free. Shares are granted by books that all holders write to,
and are given back by their holders alone. The method is escrow: O'Neil, "The escrow transactional
method", 1986; Balegas et al., "Extending eventually consistent cloud databases for enforcing
numeric invariants", 2015.

Amounts are in the meter's unit, times in microseconds.
"""

from typing import NamedTuple

from sidecar.domain.clock import SECOND_US
from sidecar.domain.decisions import Meter
from sidecar.domain.windows import MINUTE_US, Window

TIMELESS = (Window.MINUTE, Window.CONCURRENT)
"""Their shares have no window that ends, so they end with the silence of their holder."""

RESERVE_SECONDS = 30
"""A share is for so many seconds of its holder's load."""

SILENT_US = 30 * SECOND_US
"""A holder stops admitting on timeless shares this long after its last exchange, by a clock
without steps."""
MARGIN_US = 300_000
"""How much later others may count on that: clocks drift apart by less in SILENT_US."""

FLEET_MINUTE_US = MINUTE_US + 60_000
"""How long what a holder has admitted counts on a sliding minute: its clock may be too fast by a
thousandth."""

RESTATED_SECONDS = 10
"""For at least so long, books that lost commits grant nothing: holders restate what they have."""

MAX_AHEAD_US = 5 * MINUTE_US
"""How far before the books' clock a window may begin."""
MAX_LATE_US = MINUTE_US
"""How long after the end of a window shares of it are granted."""


class BudgetKey(NamedTuple):
    """Names a budget of the fleet: a limit's scope in one window.

    A sliding minute and a concurrent limit have one budget without a window, which starts at 0.
    """

    rule: str
    meter: Meter
    window: Window
    scope: str
    start_us: int


class Share(NamedTuple):
    """A holder's share of one budget, with what is known of the others."""

    granted: int
    ceiling: int
    """The lowest that calls may have which use the share unasked."""
    others_spent: int
    """With the fleet's adjustments."""
    others_held: int
    others_free: int
    """What other holders have and do not use."""
    room: int
    """What is in nobody's share."""
    as_of_us: int
    """By the books' clock."""


NO_SHARE = Share(0, 0, 0, 0, 0, 0, 0)
"""Of a budget that the books have not been asked about."""


class FleetState(NamedTuple):
    """What a holder knows of its fleet, for people who watch it."""

    exchange_age_seconds: float
    """Since the last exchange that was answered; infinite before the first."""
    holders: int
    """Those heard of in the last minute, as of the last exchange."""
    clock_ahead_us: int
    """How far its clock was ahead of the books'."""
    answered: int
    """Exchanges."""
    failed: int


class Demand(NamedTuple):
    """What a holder has of a budget, and asks for."""

    have: int
    """Its share, as its own disk has it."""
    spent: int
    held: int
    need: int = 0
    """What a call that waits lacks: granted whole, or not at all."""
    wish: int = 0
    """What it would have beside that, so that later calls need not wait."""

    @property
    def used(self) -> int:
        """What counts against its share."""
        return self.spent + self.held

    @property
    def taken(self) -> int:
        """What nobody else may have: its share, or what it has used beyond it."""
        return max(self.have, self.used)


class Grant(NamedTuple):
    """A holder's new share."""

    granted: int
    room: int
    """What nobody has after it."""
    is_short: bool
    """Whether there was no room for what the holder needs."""


def grant(demand: Demand, limit: int, others: int, holders: int, *, closed: bool = False) -> Grant:
    """Return a holder's new share of a limit, of which `others` is taken by other holders.

    A share that grows is within the limit with all that is taken. An overrun is taken, and makes no
    share larger: in a sliding minute it ends, and the share would stay. One wish takes at most half
    of an equal part of the room, so that the last of it goes to many. Closed books grant nothing.
    """
    room = limit - others - demand.taken
    is_short = demand.need > max(0, room)
    if closed or room <= 0:
        return Grant(demand.have, max(0, room), is_short)
    more = 0 if is_short else demand.need
    more += max(0, min(demand.wish, (room - more) // (2 * max(1, holders))))
    return Grant(demand.taken + more if more else demand.have, room - more, is_short)


def lowest_ceiling(recorded: int | None, asked: int, adjusted: int, total: int) -> int:
    """Return the lowest known ceiling under which `total` is granted, for one holder's share.

    Only calls with that ceiling, or a higher one, may use the share unasked: ceilings may differ
    between holders, and change.
    """
    if recorded is None:
        return asked
    low, high = sorted((recorded, asked))
    return low if total <= low - adjusted else high


def target_free(per_second: float, room: int, free: int, holders: int, largest: int) -> int:
    """Return what a holder wants free in its share, for RESERVE_SECONDS of its load.

    Near the end of a budget that is less than the largest call. Then it is 0, and each call
    asks for just what it needs.
    """
    fair = (max(0, room) + max(0, free)) // (2 * max(1, holders))
    target = min(int(per_second * RESERVE_SECONDS), fair)
    return 0 if target < largest else target


def kept(granted: int, used: int, target: int, *, wanted_elsewhere: bool, idle: bool) -> int:
    """Return what a holder keeps of its share; it gives back the rest."""
    free = granted - used
    if free <= 0:
        return granted
    if wanted_elsewhere or idle:
        return used
    return used + target if free > 2 * target else granted


def lapses_us(window: Window, seen_us: int, busy_until_us: int) -> int | None:
    """Return when a silent holder's share stops counting; None if it counts until its window ends.

    No calendar share is taken back because of time: what is left of it may have been spent.
    A sliding minute still has what was admitted last; a concurrent limit, the holds that
    were open, until `busy_until_us`.
    """
    stops_us = seen_us + SILENT_US + MARGIN_US
    if window is Window.MINUTE:
        return stops_us + MINUTE_US
    if window is Window.CONCURRENT:
        return max(stops_us, busy_until_us + MARGIN_US)
    return None


PERIOD_US = SECOND_US
"""How often a holder exchanges, in a small fleet."""


def period_us(holders: int) -> int:
    """Return how often a holder exchanges: fewer times in a larger fleet."""
    return max(PERIOD_US, 20_000 * holders)


def learning_us(holders: int) -> int:
    """Return how long books that lost commits grant nothing."""
    return max(RESTATED_SECONDS * SECOND_US, period_us(holders) * 3 // 2)
