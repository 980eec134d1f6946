"""Reports of spend and budgets, from one read-only snapshot of a ledger.

Spend by dimension is the sum of calls. A budget's spend is read from its row, which
includes adjustments.
"""

import sqlite3
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Sequence
from datetime import UTC, tzinfo

from sidecar.domain.clock import format_date
from sidecar.domain.decisions import Limit, Meter
from sidecar.domain.forecast import RECENT_US, BudgetForecast, Point, forecast_span, recent_us
from sidecar.domain.spend_report import Dimension, Spend, SpendReport
from sidecar.domain.windows import Anchor, Calendar, Span, Window
from sidecar.ledger.balances import LedgerTime

_COLUMNS = {
    Dimension.WORKSPACE: "d.workspace",
    Dimension.ROLE: "d.role",
    Dimension.PRINCIPAL: "d.principal",
    Dimension.MODEL: "d.model",
    Dimension.KEY: "d.key_id",
    Dimension.RULE: "coalesce(b.rule, '')",
    Dimension.DAY: "day_of(d.decided_at_us)",
}

_PER_LIMIT = " LEFT JOIN hold_amounts a ON a.hold = h.id LEFT JOIN budgets b ON b.id = a.budget"

# A limit that releases on expiry was charged nothing for an expired call, even if others were.
_COST_OF_LIMIT = """CASE WHEN b.meter = 'cost' AND b.window <> 'concurrent'
  THEN a.charged ELSE h.charged_cost_nano_usd END"""
_TOKENS_OF_LIMIT = """(h.state <> 'expired' OR b.id IS NULL OR b.meter <> 'tokens'
  OR b.window = 'concurrent' OR a.charge_on_expiry)"""

# Of the rows of a budget that still count, the current window's gives its bounds and ceiling;
# without one, as in a ledger of another time zone, the row opened last. Of two, as after a
# change of the anchor, it is the later.
_OPEN_BUDGETS = """
SELECT max((window_start_us = begins(window, starts_on, starts_at)) << 62 | id), rule, meter,
  window, scope, ceiling, starts_on, starts_at, window_start_us, window_end_us, sum(spent),
  sum(held)
FROM budgets WHERE window NOT IN ('minute', 'concurrent') AND window_end_us > ?
GROUP BY rule, meter, window, scope HAVING ceiling IS NOT NULL"""

# The rows of one budget that still count.
_ROWS = """(SELECT id FROM budgets WHERE rule = :rule AND meter = :meter AND window = :window
  AND scope = :scope AND window_end_us > :at_us)"""

_RECENT = f"""
SELECT coalesce(sum(a.charged), 0) FROM hold_amounts a JOIN holds h ON h.id = a.hold
WHERE a.budget IN {_ROWS} AND h.closed_at_us >= :since_us"""  # noqa: S608 - our own text

_GROWTH = f"""
SELECT (grown_at_us - :start_us) / :step_us, sum(amount) FROM (
  SELECT h.closed_at_us AS grown_at_us, a.charged AS amount FROM hold_amounts a
  JOIN holds h ON h.id = a.hold WHERE a.budget IN {_ROWS} AND a.charged <> 0
  UNION ALL SELECT adjusted_at_us, amount FROM adjustments WHERE budget IN {_ROWS}
) GROUP BY 1 ORDER BY 1"""  # noqa: S608 - our own text

# The latest refusal by each budget. See rows.budgets_to_json for the indexes.
_REFUSALS = """
SELECT r.value ->> 'rule', b.value ->> 2, b.value ->> 3, max(d.decided_at_us)
FROM decisions d JOIN json_each(d.reasons) r JOIN json_each(d.budgets) b
  ON b.value ->> 0 = r.value ->> 'rule'
WHERE d.effect = 'deny' AND d.decided_at_us >= ? GROUP BY 1, 2, 3"""


class Reports:
    """Reads reports on one connection, all from the snapshot taken when this is made."""

    def __init__(self, connection: sqlite3.Connection, clock_us: int, zone: tzinfo = UTC) -> None:
        """Begin a snapshot, at the later of the last decision's time and the clock's."""
        connection.execute("BEGIN")
        self._sql = connection
        self._zone = zone
        self.calendar = Calendar(zone)
        self.at_us = LedgerTime(connection).advance(clock_us)

    def report(self, by: Sequence[Dimension], span: Span) -> SpendReport:
        """Return the spend of the days that the span touches, and all budgets as of now."""
        days = self.calendar.days(span)
        totals = self.spend((), days) or [Spend((), (0,) * len(days), 0, 0, 0, 0, 0, 0, 0)]
        forecasts = sorted(self.forecasts(), key=lambda forecast: forecast.urgency)
        rows = tuple(self.spend(by, days))
        return SpendReport(
            self.at_us, self._zone, tuple(by), days, rows, totals[0], tuple(forecasts)
        )

    def spend(self, by: Sequence[Dimension], days: Sequence[Span]) -> list[Spend]:
        """Return the spend of these days, by cost descending; by names when divided by day."""
        starts = [day.start_us for day in days]
        dates = [format_date(start_us, self._zone) for start_us in starts]
        number = {date: index for index, date in enumerate(dates)}
        self._sql.create_function("day_of", 1, lambda us: dates[bisect_right(starts, us) - 1])
        columns = [_COLUMNS[dimension] for dimension in (*by, Dimension.DAY)]
        by_rule = Dimension.RULE in by
        tokens = _TOKENS_OF_LIMIT if by_rule else "1"
        cost = _COST_OF_LIMIT if by_rule else "h.charged_cost_nano_usd"
        found = self._sql.execute(
            f"SELECT {', '.join(columns)}, count(*), sum(h.charged_input_tokens * {tokens}),"  # noqa: S608 - our own columns
            f" sum(h.charged_output_tokens * {tokens}), sum({cost}), sum(h.overrun),"
            " sum(h.state = 'expired'),"
            f" sum((h.state = 'expired') * (h.held_cost_nano_usd - {cost}))"
            f" FROM holds h JOIN decisions d USING (id){_PER_LIMIT if by_rule else ''}"
            " WHERE h.state IN ('settled', 'expired')"
            " AND d.decided_at_us >= ? AND d.decided_at_us < ?"
            f" GROUP BY {', '.join(columns)}",
            (days[0].start_us, days[-1].end_us),
        )
        sums: dict[tuple[str, ...], list[int]] = defaultdict(lambda: [0] * 7)
        daily: dict[tuple[str, ...], list[int]] = defaultdict(lambda: [0] * len(days))
        for row in found:
            names, date, counts = row[: len(by)], row[len(by)], row[len(by) + 1 :]
            sums[names] = [a + b for a, b in zip(sums[names], counts, strict=True)]
            daily[names][number[date]] += counts[3]
        rows = [Spend(names, tuple(daily[names]), *sums[names]) for names in sums]
        by_day = Dimension.DAY in by
        return sorted(rows, key=lambda row: (0 if by_day else -row.cost_nano_usd, row.names))

    def forecasts(self) -> list[BudgetForecast]:
        """Return a forecast of each budget with a ceiling, but for minutes and open holds."""
        found = []
        since_us = self.at_us - max(RECENT_US.values())
        refusals = {
            tuple(budget): refused_at_us
            for *budget, refused_at_us in self._sql.execute(_REFUSALS, (since_us,))
        }
        self._sql.create_function("begins", 3, self._begins)
        rows = self._sql.execute(_OPEN_BUDGETS, (self.at_us,)).fetchall()
        for _, rule, meter, window, scope, ceiling, *anchor, start_us, end_us, spent, held in rows:
            limit = Limit(
                rule, Meter(meter), Window(window), scope, ceiling, anchor=Anchor(*anchor)
            )
            measured_us = recent_us(limit.window, self.at_us - start_us)
            since = {"since_us": self.at_us - measured_us}
            (recent,) = self._sql.execute(_RECENT, self._of(limit) | since).fetchone()
            found.append(
                BudgetForecast(
                    limit=limit,
                    ceiling=ceiling,
                    span=forecast_span(limit.window, Span(start_us, end_us), self.at_us),
                    spent=spent,
                    held=held,
                    at_us=self.at_us,
                    recent=recent,
                    recent_us=measured_us,
                    refused_at_us=refusals.get((rule, scope, start_us)),
                )
            )
        return found

    def _begins(self, window: str, starts_on: int, starts_at: int) -> int:
        """Return when the current window of a kind began."""
        return self.calendar.span(Window(window), self.at_us, Anchor(starts_on, starts_at)).start_us

    def curve(self, forecast: BudgetForecast, steps: int = 96) -> list[Point]:
        """Return the growth of a budget's spend so far, at most one point for each step.

        A call counts from the time of its charge, an adjustment from the time it was made.
        """
        start_us, end_us = forecast.span
        step_us = max(1, (end_us - start_us) // steps)
        steps_of = {"start_us": start_us, "step_us": step_us}
        growth = self._sql.execute(_GROWTH, self._of(forecast.limit) | steps_of).fetchall()
        spent = forecast.spent - sum(amount for _, amount in growth)  # the opening balance (L2)
        points = [Point(start_us, spent)]
        for step, amount in growth:
            spent += amount
            after_us = max(start_us, start_us + (step + 1) * step_us)
            points.append(Point(min(after_us, self.at_us), spent))
        return [*points, Point(self.at_us, spent)]

    def _of(self, limit: Limit) -> dict[str, str | int]:
        """Return the parameters of _ROWS."""
        return {
            "rule": limit.rule,
            "meter": limit.meter.value,
            "window": limit.window.value,
            "scope": limit.scope,
            "at_us": self.at_us,
        }
