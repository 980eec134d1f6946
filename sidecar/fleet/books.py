"""The rules of an exchange, independent of where the books are kept.

The books are rows. A store locks and reads those of an exchange, `apply` says what they become, and
the store writes that, in one transaction. So the simulation's books and PostgreSQL's follow the
same rules.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from sidecar.domain.sharing import (
    MAX_AHEAD_US,
    MAX_LATE_US,
    SILENT_US,
    TIMELESS,
    BudgetKey,
    Demand,
    Grant,
    Share,
    grant,
    lapses_us,
    learning_us,
    lowest_ceiling,
)
from sidecar.domain.windows import MINUTE_US
from sidecar.fleet.protocol import (
    Answer,
    Entry,
    Exchange,
    FencedError,
    FleetRefusedError,
    FleetUnreachableError,
    Item,
)

SHORT_US = 2_000_000
"""How long after a holder lacked room the others give back what they do not use."""

LIVE_US = MINUTE_US
"""A holder counts for the size of the fleet this long after its last exchange."""

MAX_SUM = 2**62
"""Sums stay here instead of failing above int64 (L7), as those of the ledger do."""


class FleetRow(NamedTuple):
    """The one row of the fleet."""

    fleet_id: str
    time_zone: str
    timeline: int
    """Of PostgreSQL, which begins a new one when a replica takes over, or a backup is restored.
    0 until one is known."""
    recover_until_us: int


class HolderRow(NamedTuple):
    """A holder, as of its last exchange."""

    boot: int
    nonce: str
    version: int
    forgotten_us: int = 0
    """When an operator has signed what it had spent (G7); 0 if none has."""


class ShareRow(NamedTuple):
    """A holder's share of one budget, with what it reported of it."""

    granted: int
    spent: int
    held: int
    ceiling: int
    busy_until_us: int
    seen_us: int
    """When its holder named it for the last time."""


class Others(NamedTuple):
    """The sums over the other holders' shares that count: see domain/sharing.py, lapses_us."""

    taken: int = 0
    """What is granted, or used beyond it."""
    spent: int = 0
    held: int = 0
    free: int = 0
    """What is granted and not used, where that is more than 0."""


class BudgetState(NamedTuple):
    """A budget, as an exchange finds it."""

    adjusted: int
    """What operators have added to what is spent; a negative amount is more room."""
    short_at_us: int
    """When a holder lacked room for the last time."""
    own: ShareRow | None
    others: Others


class Applied(NamedTuple):
    """What an exchange makes of the books."""

    fleet: FleetRow
    holder: HolderRow
    shares: Mapping[BudgetKey, ShareRow]
    short: Sequence[BudgetKey]
    """The budgets in which the holder lacks room now."""
    answer: Answer


def check(exchange: Exchange, fleet: FleetRow, holder: HolderRow | None, timeline: int) -> None:
    """Raise FleetRefusedError for another fleet's holder, FencedError for a replaced one (G5).

    FleetUnreachableError for a server that another has replaced.
    """
    if exchange.fleet_id not in ("", fleet.fleet_id):
        raise FleetRefusedError(
            "this ledger is in another fleet than these books: give it the URL of its own, or a"
            " new place here with `sidecar fleet rejoin`"
        )
    if exchange.time_zone != fleet.time_zone:
        raise FleetRefusedError(
            f"the fleet's windows are in the time zone {fleet.time_zone}, and this sidecar's in"
            f" {exchange.time_zone}: set --time-zone {fleet.time_zone}"
        )
    if 0 < timeline < exchange.timeline:
        raise FleetUnreachableError(
            f"a server on timeline {timeline} of PostgreSQL answers, and this ledger has seen"
            f" timeline {exchange.timeline}: another server has replaced that one"
        )
    if holder is None:
        return
    if holder.forgotten_us:
        raise FencedError(
            "an operator has signed what this ledger had spent, since it was not heard of: give it"
            " a new place in the fleet with `sidecar fleet rejoin`"
        )
    if exchange.boot < holder.boot or exchange.version < holder.version:
        raise FencedError(
            "this ledger is older than the fleet knows it (start"
            f" {exchange.boot}, exchange {exchange.version}; the fleet has heard of start"
            f" {holder.boot}, exchange {holder.version}): it was restored from a backup, or another"
            " sidecar serves a copy of it. If it was restored, give it a new place in the fleet"
            " with `sidecar fleet rejoin`"
        )
    if exchange.boot == holder.boot and exchange.nonce != holder.nonce:
        raise FencedError(
            "another process serves a copy of this ledger: end one of the two, and give the other"
            " a new place in the fleet with `sidecar fleet rejoin`"
        )


def asks(item: Item) -> bool:
    """Whether an item asks for a larger share than its holder has."""
    return item.demand.need > 0 or item.demand.wish > 0


def may_raise(item: Item, own: ShareRow | None, now_us: int) -> bool:
    """Whether an item may make a share larger: then its budget is locked first (G1).

    So it does where a share has lapsed, or might before the exchange is booked: others may take it.
    """
    if asks(item) or item.demand.have > (0 if own is None else own.granted):
        return True
    is_timeless = item.key.window in TIMELESS
    return is_timeless and own is not None and now_us - own.seen_us > SILENT_US


def apply(
    fleet: FleetRow,
    holder: HolderRow | None,
    budgets: Mapping[BudgetKey, BudgetState],
    exchange: Exchange,
    *,
    timeline: int,
    holders: int,
    now_us: int,
) -> Applied:
    """Return what an exchange makes of the rows, and its answer. Raises as `check` does.

    `timeline` is PostgreSQL's now, 0 if it does not say; `holders` are live, with this one. The
    budgets of items that may raise a share are locked, and `now_us` is later than the lock.
    """
    check(exchange, fleet, holder, timeline)
    fleet = _recovering(fleet, holder, exchange, timeline, holders, now_us)
    is_learning = now_us < fleet.recover_until_us
    is_repeat = holder is not None and exchange.version == holder.version
    shares: dict[BudgetKey, ShareRow] = {}
    short: list[BudgetKey] = []
    entries: list[Entry] = []
    for asked in exchange.items:
        item, state = _unless_lapsed(asked, budgets[asked.key], now_us)
        closed = is_learning or not _is_open(item, now_us)
        if is_repeat and state.own is not None:
            # What was granted the first time stays. More may be used than was said then.
            asked_for = Demand(state.own.granted, item.demand.spent, item.demand.held)
            item = item._replace(demand=asked_for)
        granted, row = _granted(item, state, holders, now_us, closed=closed or is_repeat)
        room = granted.room
        if granted.is_short and not closed:
            short.append(item.key)
        shares[item.key] = row
        is_short = item.key not in short and now_us - state.short_at_us < SHORT_US
        entries.append(Entry(item.key, _share(row, state, room, now_us), is_short, closed))
    answer = Answer(
        entries, now_us, timeline or fleet.timeline, holders, is_learning, fleet.fleet_id
    )
    new = HolderRow(exchange.boot, exchange.nonce, exchange.version)
    return Applied(fleet, new, shares, short, answer)


def _share(row: ShareRow, state: BudgetState, room: int, now_us: int) -> Share:
    """Return what the holder is told of its share."""
    others = state.others
    others_spent = min(others.spent + state.adjusted, MAX_SUM)
    return Share(
        row.granted, row.ceiling, others_spent, others.held, others.free, min(room, MAX_SUM), now_us
    )


def _unless_lapsed(item: Item, state: BudgetState, now_us: int) -> tuple[Item, BudgetState]:
    """Return an item and its budget without a share that others may have taken since.

    Its holder has stopped to use it. What it has used all the same is booked.
    """
    own = state.own
    until_us = None if own is None else lapses_us(item.key.window, own.seen_us, own.busy_until_us)
    if until_us is None or now_us < until_us:
        return item, state
    return item._replace(demand=item.demand._replace(have=0)), state._replace(own=None)


def _recovering(
    fleet: FleetRow,
    holder: HolderRow | None,
    exchange: Exchange,
    timeline: int,
    holders: int,
    now_us: int,
) -> FleetRow:
    """Return the fleet's row; G8: if commits were lost, nothing is granted for a while."""
    known = 0 if holder is None else holder.version
    is_replaced = timeline > fleet.timeline > 0
    fleet = fleet._replace(timeline=max(timeline, fleet.timeline))
    if exchange.version <= known + 1 and not is_replaced:
        return fleet
    until_us = max(fleet.recover_until_us, now_us + learning_us(holders))
    return fleet._replace(recover_until_us=until_us)


def _is_open(item: Item, now_us: int) -> bool:
    """Whether shares are granted of its window, by the books' clock (L9)."""
    if item.key.window in TIMELESS:
        return True
    return item.key.start_us - MAX_AHEAD_US <= now_us < item.end_us + MAX_LATE_US


def _granted(
    item: Item, state: BudgetState, holders: int, now_us: int, *, closed: bool
) -> tuple[Grant, ShareRow]:
    """Return what an item is granted, and the row of its share."""
    demand, own = item.demand, state.own
    limit = item.ceiling - state.adjusted
    granted = grant(demand, limit, state.others.taken, holders, closed=closed)
    total = max(granted.granted, demand.used) + state.others.taken
    ceiling = lowest_ceiling(
        None if own is None else own.ceiling, item.ceiling, state.adjusted, total
    )
    return granted, ShareRow(
        min(granted.granted, MAX_SUM),
        min(demand.spent, MAX_SUM),
        min(demand.held, MAX_SUM),
        ceiling,
        now_us + item.busy_us if item.busy_us else 0,
        now_us,
    )
