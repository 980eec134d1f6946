"""The spend of a whole fleet, read from its books in one moment.

Unaccounted is money that the books count as spent and no holder has reported by name: of each
holder, what its shares count as spent less what its reports cover, by the limit of money of which
that is the most, since a call counts on several. Of a live holder, a share counts what was spent of
it; of one that fell silent in its window, the whole share (G7), or what an operator has signed.
"""

from bisect import bisect_right
from collections.abc import Sequence
from datetime import tzinfo
from pathlib import Path
from typing import Any, NamedTuple

from sidecar.domain.clock import format_date
from sidecar.domain.decisions import Limit, Meter
from sidecar.domain.forecast import RECENT_US, BudgetForecast, forecast_span
from sidecar.domain.sharing import TIMELESS
from sidecar.domain.spend_report import (
    SUM_NAMES,
    Dimension,
    Spend,
    SpendReport,
    Unaccounted,
    spend_rows,
)
from sidecar.domain.windows import MINUTE_US, Calendar, Span, Window
from sidecar.fleet.books import LIVE_US
from sidecar.fleet.operations import ONE_MOMENT, operate
from sidecar.fleet.protocol import FleetRefusedError
from sidecar.fleet.session import Row, Session
from sidecar.fleet.statements import CLOCK, sum_of
from sidecar.fleet.status import BudgetStatus, read_budgets

MAX_BUDGETS = 10_000
"""Of which there are forecasts: those of which the most is stranded or used."""
MAX_SUMS = 500_000
"""Of names and days that a report adds up."""

METHOD = (
    "Method: the books keep no history of a budget. So its pace is what it was charged since its "
    "window began (a minute at least), divided by that time; that of a total is unknown. The "
    "budget runs out when what is spent at this pace, and what is held now and assumed to stay "
    "held, reach the ceiling. What is left in the shares of sidecars that are gone counts as held. "
    "The books know of no refused calls. Pace and forecast are estimates; all other amounts are "
    "sums of what sidecars have reported: of budgets a second ago, of spend half a minute ago."
)
COUNTED = (
    "Spend is what budgets were charged, as sidecars have reported it: by calls that were settled, "
    "and at their worst case by calls that expired, on the day they were authorized. Unaccounted "
    "is money that the fleet's budgets count as spent and no sidecar has reported: of one that is "
    "gone, the rest of its shares, or what was signed of them, on the day it was heard of last; of "
    "a live one, what it spent since its last report. A call counts on several limits, so of each "
    "sidecar the limit of cost counts of which that is the most."
)


class FleetTime(NamedTuple):
    """The time of a fleet's books, and the time zone of its days."""

    now_us: int
    time_zone: str


async def fleet_time(url_file: Path) -> FleetTime:
    """Return the time of the books. Raises FleetRefusedError, FleetUnreachableError."""

    async def work(session: Session) -> FleetTime:
        [row] = await session.fetch(_TIME)
        return FleetTime(**row)

    return await operate(url_file, work)


class FleetSpend(NamedTuple):
    """A report, and the layers of its daily bars."""

    report: SpendReport
    stacks: Sequence[Spend]


async def read_spend(
    url_file: Path, by: Sequence[Dimension], stack_by: Dimension, span: Span, zone: tzinfo
) -> FleetSpend:
    """Return the spend of the days that a span touches, and all budgets as of now.

    Raises FleetRefusedError, FleetUnreachableError.
    """
    days = Calendar(zone).days(span)

    async def work(session: Session) -> FleetSpend:
        [time] = await session.fetch(_TIME)
        forecasts = [
            _forecast(one, time["now_us"])
            for one in await read_budgets(session, MAX_BUDGETS)
            if one.window in RECENT_US
        ]
        total = await _spend(session, (), days, zone)
        report = SpendReport(
            at_us=time["now_us"],
            zone=zone,
            by=tuple(by),
            days=days,
            rows=tuple(await _spend(session, by, days, zone)),
            total=total[0] if total else Spend((), (0,) * len(days), *(0 for _ in SUM_NAMES)),
            forecasts=tuple(sorted(forecasts, key=lambda one: one.urgency)),
            retirements=(),
            method=METHOD,
            counted=COUNTED,
            unaccounted=await _unaccounted(session, span),
        )
        return FleetSpend(report, await _spend(session, [stack_by], days, zone))

    return await operate(url_file, work, isolation=ONE_MOMENT)


async def _spend(
    session: Session, by: Sequence[Dimension], days: Sequence[Span], zone: tzinfo
) -> list[Spend]:
    columns = [_COLUMNS[dimension] for dimension in (*by, Dimension.DAY)]
    found = await session.fetch(
        f"SELECT {', '.join(columns)}, {_SUMS} FROM fleet_spend"  # noqa: S608 - our own names
        " WHERE day_us >= $1 AND day_us < $2 AND by_rule = $3"
        f" GROUP BY {', '.join(columns)} HAVING sum(calls) <> 0 LIMIT $4",
        days[0].start_us,
        days[-1].end_us,
        int(Dimension.RULE in by),
        MAX_SUMS + 1,
    )
    if len(found) > MAX_SUMS:
        raise FleetRefusedError(
            f"the report would have more than {MAX_SUMS:,} sums: ask for fewer days, or --by less"
        )
    starts = [day.start_us for day in days]
    dates = [format_date(start_us, zone) for start_us in starts]
    places = [number for number, column in enumerate(columns) if column == "day_us"]

    def dated(row: Row) -> list[Any]:
        values = list(row.values())
        for place in places:
            values[place] = dates[bisect_right(starts, values[place]) - 1]
        return values

    return spend_rows(map(dated, found), by, dates)


def _forecast(budget: BudgetStatus, now_us: int) -> BudgetForecast:
    span = Span(budget.start_us, budget.end_us)
    is_total = budget.window is Window.TOTAL
    return BudgetForecast(
        limit=Limit(budget.rule, budget.meter, budget.window, budget.scope, budget.ceiling),
        ceiling=budget.ceiling,
        span=forecast_span(budget.window, span, now_us),
        spent=budget.spent,
        held=budget.held + budget.stranded,
        at_us=now_us,
        recent=0 if is_total else budget.spent - budget.adjusted,
        recent_us=max(MINUTE_US, now_us - budget.start_us),
        refused_at_us=None,
        has_pace=not is_total,
    )


async def _unaccounted(session: Session, span: Span) -> Unaccounted | None:
    """Return what is unaccounted of holders that were heard of last in a span."""
    [row] = await session.fetch(_UNACCOUNTED, *span)
    if not row["shares"]:
        return None
    return Unaccounted(row["live"], row["gone"], row["gone_holders"])


_TIME = f"WITH {CLOCK} SELECT now_us, time_zone FROM fleet CROSS JOIN clock"  # noqa: S608

_COLUMNS = {
    Dimension.WORKSPACE: "workspace",
    Dimension.ROLE: "role",
    Dimension.PRINCIPAL: "principal",
    Dimension.MODEL: "model",
    Dimension.KEY: "key_id",
    Dimension.RULE: "rule",
    Dimension.DAY: "day_us",
}
_SUMS = ", ".join(f"{sum_of(name)} AS {name}" for name in SUM_NAMES)

_UNACCOUNTED = f"""
WITH {CLOCK}, share AS (
    SELECT share.uid, rule, window_end_us, granted, spent, held, reported,
        coalesce(holder.seen_us, share.seen_us) AS seen_us
    FROM fleet_share AS share JOIN fleet_budget AS budget ON budget.id = share.budget
    LEFT JOIN fleet_holder AS holder ON holder.uid = share.uid
    WHERE meter = '{Meter.COST}'
        AND window_kind NOT IN ({", ".join(f"'{window}'" for window in TIMELESS)})
), missing AS (
    SELECT uid, rule, seen_us > now_us - {LIVE_US} AS is_live, sum(greatest(
        CASE WHEN seen_us <= now_us - {LIVE_US} AND seen_us < window_end_us
            THEN greatest(granted, spent::numeric + held) ELSE spent END - reported, 0)) AS amount
    FROM share CROSS JOIN clock
    WHERE seen_us >= $1 AND seen_us < $2
    GROUP BY uid, rule, is_live
), holder AS (
    SELECT uid, is_live, max(amount) AS amount FROM missing GROUP BY uid, is_live
)
SELECT {sum_of("CASE WHEN is_live THEN amount END")} AS live,
    {sum_of("CASE WHEN NOT is_live THEN amount END")} AS gone,
    count(CASE WHEN NOT is_live AND amount > 0 THEN 1 END) AS gone_holders,
    EXISTS (SELECT 1 FROM share) AS shares
FROM holder
"""  # noqa: S608 - constants of our own
