"""Reports of spend and budgets, from one read-only snapshot of a ledger.

Spend by dimension is the sum of calls. A budget's spend is read from its rows, which include
adjustments, as decisions read it.
"""

import sqlite3
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, tzinfo

from sidecar.domain.clock import format_date
from sidecar.domain.decisions import Limit
from sidecar.domain.forecast import RECENT_US, BudgetForecast, Point, forecast_span, recent_us
from sidecar.domain.retirement import Retirement
from sidecar.domain.spend_report import Dimension, Spend, SpendReport
from sidecar.domain.windows import Calendar, Span
from sidecar.ledger import latest_limits
from sidecar.ledger.balances import STILL_OPEN, Balances, LedgerTime, still_open
from sidecar.ledger.rows import saturated_sum

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

# The scopes for which a limit has rows that still count.
_SCOPES = """
SELECT DISTINCT scope FROM budgets WHERE rule = ? AND meter = ? AND window = ?
  AND (window_end_us > ? OR window_start_us = ?) ORDER BY scope"""

# The window of the same anchor that was opened last: in a ledger of another time zone, no row
# begins when the current window does.
_SPAN = f"""
SELECT window_start_us, window_end_us {STILL_OPEN} AND starts_on = ?9 AND starts_at = ?10
ORDER BY counted_at_us DESC, id DESC LIMIT 1"""

_RECENT = f"""
SELECT coalesce(sum(a.charged), 0) FROM hold_amounts a JOIN holds h ON h.id = a.hold
WHERE a.budget IN (SELECT id {STILL_OPEN}) AND h.closed_at_us >= ?9"""  # noqa: S608 - our own text

_GROWTH = f"""
WITH still_open AS (SELECT id {STILL_OPEN})
SELECT (grown_at_us - ?9) / ?10, sum(amount) FROM (
  SELECT h.closed_at_us AS grown_at_us, a.charged AS amount FROM hold_amounts a
  JOIN holds h ON h.id = a.hold WHERE a.budget IN still_open AND a.charged <> 0
  UNION ALL SELECT adjusted_at_us, amount FROM adjustments WHERE budget IN still_open
) GROUP BY 1 ORDER BY 1"""  # noqa: S608 - our own text

_RETIREMENTS = """
SELECT r.model, r.retires_at_us, r.replaced_by FROM model_retirements r WHERE EXISTS (
  SELECT 1 FROM holds JOIN decisions d USING (id) WHERE state IN ('settled', 'expired')
  AND d.model = r.model AND d.decided_at_us >= ? AND d.decided_at_us < ?)
ORDER BY r.retires_at_us, r.model"""

# The latest refusal by each budget. See rows.budgets_to_json for the indexes.
_REFUSALS = """
SELECT r.value ->> 'rule', b.value ->> 2, b.value ->> 3, max(d.decided_at_us)
FROM all_decisions d JOIN json_each(d.reasons) r JOIN json_each(d.budgets) b
  ON b.value ->> 0 = r.value ->> 'rule'
WHERE d.effect = 'deny' AND d.decided_at_us >= ? GROUP BY 1, 2, 3"""

Refusals = Mapping[tuple[str, str, int], int]
"""When a budget last refused a call, by its rule, scope and start of the window."""


class Reports:
    """Reads reports on one connection, all from the snapshot taken when this is made."""

    def __init__(self, connection: sqlite3.Connection, clock_us: int, zone: tzinfo = UTC) -> None:
        """Begin a snapshot, at the later of the last decision's time and the clock's."""
        connection.execute("BEGIN")
        self._sql = connection
        self._zone = zone
        self.calendar = Calendar(zone)
        time = LedgerTime(connection)
        self.at_us = time.advance(clock_us)
        self._balances = Balances(connection, self.calendar, time)

    def report(self, by: Sequence[Dimension], span: Span) -> SpendReport:
        """Return the spend of the days that the span touches, and all budgets as of now."""
        days = self.calendar.days(span)
        totals = self.spend((), days) or [Spend((), (0,) * len(days), 0, 0, 0, 0, 0, 0, 0)]
        forecasts = sorted(self.forecasts(), key=lambda forecast: forecast.urgency)
        rows = tuple(self.spend(by, days))
        return SpendReport(
            at_us=self.at_us,
            zone=self._zone,
            by=tuple(by),
            days=days,
            rows=rows,
            total=totals[0],
            forecasts=tuple(forecasts),
            retirements=tuple(self._retirements(days)),
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
        unknown = f"(h.state = 'expired') * (h.held_cost_nano_usd - {cost})"
        found = self._sql.execute(
            f"SELECT {', '.join(columns)}, count(*),"  # noqa: S608 - our own columns
            f" {saturated_sum(f'h.charged_input_tokens * {tokens}')},"
            f" {saturated_sum(f'h.charged_output_tokens * {tokens}')},"
            f" {saturated_sum(cost)}, sum(h.overrun), sum(h.state = 'expired'),"
            f" {saturated_sum(unknown)}"
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

    def _retirements(self, days: Sequence[Span]) -> Iterator[Retirement]:
        """Yield the retirements of the models that were spent on in these days."""
        found = self._sql.execute(_RETIREMENTS, (days[0].start_us, days[-1].end_us))
        yield from map(Retirement._make, found)

    def forecasts(self) -> list[BudgetForecast]:
        """Return a forecast of each budget with a ceiling, but for minutes and open holds."""
        since_us = self.at_us - max(RECENT_US.values())
        refusals = {
            tuple(budget): refused_at_us
            for *budget, refused_at_us in self._sql.execute(_REFUSALS, (since_us,))
        }
        return [
            self._forecast(limit, limit.ceiling, refusals)
            for rule in latest_limits.rules(self._sql)
            for limit in self._limits(rule)
            if limit.ceiling is not None
        ]

    def _limits(self, rule: str) -> Iterator[Limit]:
        """Yield a rule's limit as it is in force, for each scope with a row that still counts."""
        latest = latest_limits.latest_limit(self._sql, rule)
        if latest is None or latest.window not in RECENT_US:
            return
        span = self._span(latest)
        names = (rule, latest.meter.value, latest.window.value)
        found = self._sql.execute(_SCOPES, (*names, self.at_us, span.start_us)).fetchall()
        for (scope,) in found:
            limit = latest._replace(scope=scope)
            ceiling = latest_limits.ceiling_of(self._sql, limit, span)
            yield limit._replace(ceiling=ceiling)

    def _forecast(self, limit: Limit, ceiling: int, refusals: Refusals) -> BudgetForecast:
        balance, rows = self._balances.of(limit, self.at_us), self._rows(limit)
        span = balance.span
        if balance.row is None:
            span = Span(*(self._sql.execute(_SPAN, (*rows, *limit.anchor)).fetchone() or span))
        measured_us = recent_us(limit.window, self.at_us - span.start_us)
        (recent,) = self._sql.execute(_RECENT, (*rows, self.at_us - measured_us)).fetchone()
        return BudgetForecast(
            limit=limit,
            ceiling=ceiling,
            span=forecast_span(limit.window, span, self.at_us),
            spent=balance.spent,
            held=balance.held,
            at_us=self.at_us,
            recent=recent,
            recent_us=measured_us,
            refused_at_us=refusals.get((limit.rule, limit.scope, span.start_us)),
        )

    def curve(self, forecast: BudgetForecast, steps: int = 96) -> list[Point]:
        """Return the growth of a budget's spend so far, at most one point for each step.

        A call counts from the time of its charge, an adjustment from the time it was made.
        """
        start_us, end_us = forecast.span
        step_us = max(1, (end_us - start_us) // steps)
        rows = self._rows(forecast.limit)
        growth = self._sql.execute(_GROWTH, (*rows, start_us, step_us)).fetchall()
        spent = forecast.spent - sum(amount for _, amount in growth)  # the opening balance (L2)
        points = [Point(start_us, spent)]
        for step, amount in growth:
            spent += amount
            after_us = max(start_us, start_us + (step + 1) * step_us)
            points.append(Point(min(after_us, self.at_us), spent))
        return [*points, Point(self.at_us, spent)]

    def _span(self, limit: Limit) -> Span:
        """Return the limit's current window."""
        return self.calendar.span(limit.window, self.at_us, limit.anchor)

    def _rows(self, limit: Limit) -> tuple[str | int, ...]:
        """Return the parameters of STILL_OPEN."""
        return still_open(limit, self._span(limit), self.at_us)
