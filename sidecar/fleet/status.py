"""The status of the books, for operators: holders, and budgets in their current windows.

ceiling = spent + held + free + stranded + room, unless more is used than there is
"""

from collections.abc import Sequence
from typing import NamedTuple

from sidecar.domain.decisions import Meter
from sidecar.domain.windows import Window
from sidecar.fleet.books import LIVE_US, MAX_SUM
from sidecar.fleet.protocol import FleetRefusedError
from sidecar.fleet.session import Row, Session
from sidecar.fleet.statements import CLOCK, COUNTS, sum_of


class HolderStatus(NamedTuple):
    """A holder, as the books know it."""

    uid: str
    name: str
    seen_us: int
    boot: int
    version: int
    is_live: bool
    """Whether it was heard of in the last minute."""
    is_stopped: bool
    """Whether it stopped in order, and has not started again."""
    forgotten_us: int
    """When an operator has signed what it had spent; 0 if none has."""
    stranded: int
    """In how many open budgets it is silent, and has not reported its whole share as used."""


class BudgetStatus(NamedTuple):
    """A budget in its current window; amounts are in its meter's unit."""

    rule: str
    meter: Meter
    window: Window
    scope: str
    start_us: int
    end_us: int
    ceiling: int
    """Under which the holder asked that was heard of last."""
    adjusted: int
    spent: int
    """With what is adjusted."""
    held: int
    free: int
    """In shares of live holders, and not used."""
    stranded: int
    """The same of silent holders: it counts as spent (G7)."""
    holders: int
    """That have a share."""

    @property
    def room(self) -> int:
        """What is in nobody's share."""
        return max(0, self.ceiling - self.spent - self.held - self.free - self.stranded)


class FleetStatus(NamedTuple):
    """The books, as of one moment."""

    now_us: int
    """By their own clock."""
    fleet_id: str
    version: int
    time_zone: str
    timeline: int
    recover_until_us: int
    live: int
    """How many holders were heard of in the last minute, and have not stopped since."""
    all_holders: int
    all_budgets: int
    holders: Sequence[HolderStatus]
    """Those whose shares are stranded first, then the last that were heard of."""
    budgets: Sequence[BudgetStatus]
    """Those of which the most is stranded first, then used."""

    @property
    def is_learning(self) -> bool:
        """Whether nothing is granted now (G8)."""
        return self.now_us < self.recover_until_us


async def read_status(session: Session, limit: int) -> FleetStatus:
    """Read the status, with at most so many holders and budgets. Raises FleetRefusedError."""
    [fleet] = await session.fetch(_FLEET)
    holders = await session.fetch(_HOLDERS, limit)
    budgets = await session.fetch(_BUDGETS, None, limit)
    [counts] = await session.fetch(_COUNT_HOLDERS)
    return FleetStatus(
        **fleet,
        **counts,
        all_budgets=budgets[0]["all_budgets"] if budgets else 0,
        holders=[HolderStatus(**row) for row in holders],
        budgets=[_budget(row) for row in budgets],
    )


async def read_budgets(session: Session, limit: int) -> list[BudgetStatus]:
    """Read the status of at most so many budgets; see FleetStatus. Raises FleetRefusedError."""
    return [_budget(row) for row in await session.fetch(_BUDGETS, None, limit)]


async def budget_status(session: Session, budget: bytes) -> BudgetStatus:
    """Read the status of one budget."""
    [row] = await session.fetch(_BUDGETS, budget, 1)
    return _budget(row)


def known_meter(name: str) -> Meter:
    """Return a meter. Raises FleetRefusedError."""
    try:
        return Meter(name)
    except ValueError:
        raise _foreign("meter", name) from None


def known_window(name: str) -> Window:
    """Return a kind of window. Raises FleetRefusedError."""
    try:
        return Window(name)
    except ValueError:
        raise _foreign("window", name) from None


def _foreign(what: str, name: str) -> FleetRefusedError:
    return FleetRefusedError(f"its tables have a {what} that this sidecar does not know: {name}")


def _budget(row: Row) -> BudgetStatus:
    found = BudgetStatus(*(row[column] for column in BudgetStatus._fields))
    return found._replace(meter=known_meter(found.meter), window=known_window(found.window))


# A holder that the books have lost (G8) is silent, too.
_IS_LIVE = f"coalesce(holder.seen_us, 0) > now_us - {LIVE_US}"
# A holder that stops exchanges before it says that it leaves.
_IS_STOPPED = "(holder.left_us > 0 AND holder.left_us >= holder.seen_us)"

_FLEET = f"""
WITH {CLOCK}
SELECT now_us, fleet_id, schema_version AS version, time_zone, timeline, recover_until_us
FROM fleet CROSS JOIN clock
"""  # noqa: S608 - constants of our own

_COUNT_HOLDERS = f"""
WITH {CLOCK}
SELECT coalesce(sum(CASE WHEN {_IS_LIVE} AND NOT {_IS_STOPPED} THEN 1 ELSE 0 END), 0)::bigint
    AS live, count(*) AS all_holders
FROM fleet_holder AS holder CROSS JOIN clock
"""  # noqa: S608 - constants of our own

_REST = "greatest(share.granted::numeric - share.spent - share.held, 0)"
_IS_OPEN = "budget.window_start_us <= now_us AND now_us < budget.window_end_us"

_HOLDERS = f"""
WITH {CLOCK}, rest AS (
    SELECT share.uid, count(*) AS stranded
    FROM fleet_share AS share JOIN fleet_budget AS budget ON budget.id = share.budget
    CROSS JOIN clock
    WHERE {_IS_OPEN} AND {COUNTS} AND {_REST} > 0 GROUP BY share.uid
)
SELECT holder.uid, name, seen_us, boot, version, {_IS_LIVE} AS is_live, {_IS_STOPPED} AS is_stopped,
    forgotten_us,
    CASE WHEN {_IS_LIVE} THEN 0 ELSE coalesce(rest.stranded, 0) END AS stranded
FROM fleet_holder AS holder CROSS JOIN clock LEFT JOIN rest ON rest.uid = holder.uid
ORDER BY CASE WHEN {_IS_LIVE} THEN 0 ELSE coalesce(rest.stranded, 0) END DESC, seen_us DESC,
    holder.uid
LIMIT $1
"""  # noqa: S608 - constants of our own

_BUDGETS = f"""
WITH {CLOCK}, status AS (
    SELECT budget.id, rule, meter, window_kind AS "window", scope, window_start_us AS start_us,
        window_end_us AS end_us, sums.ceiling, adjustments.adjusted,
        least(sums.spent::numeric + adjustments.adjusted, {MAX_SUM})::bigint AS spent,
        sums.held, sums.free, sums.stranded, sums.holders
    FROM fleet_budget AS budget CROSS JOIN clock
    CROSS JOIN LATERAL (
        SELECT {sum_of("amount")} AS adjusted FROM fleet_adjustment AS adjustment
        WHERE adjustment.budget = budget.id
    ) AS adjustments
    CROSS JOIN LATERAL (
        SELECT count(*) AS holders,
            coalesce((array_agg(share.asked_ceiling ORDER BY share.seen_us DESC))[1], 0) AS ceiling,
            {sum_of("share.spent")} AS spent, {sum_of("share.held")} AS held,
            {sum_of(f"CASE WHEN {_IS_LIVE} THEN {_REST} ELSE 0 END")} AS free,
            {sum_of(f"CASE WHEN {_IS_LIVE} THEN 0 ELSE {_REST} END")} AS stranded
        FROM fleet_share AS share LEFT JOIN fleet_holder AS holder ON holder.uid = share.uid
        WHERE share.budget = budget.id AND {COUNTS}
    ) AS sums
    WHERE {_IS_OPEN} AND ($1::bytea IS NULL OR budget.id = $1)
)
SELECT *, count(*) OVER () AS all_budgets FROM status WHERE holders > 0 OR adjusted <> 0
ORDER BY stranded::numeric / greatest(ceiling, 1) DESC,
    (spent::numeric + held) / greatest(ceiling, 1) DESC, rule, scope, id
LIMIT $2
"""  # noqa: S608 - constants of our own
