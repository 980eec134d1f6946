"""Reports of spend and budgets, from one read-only snapshot of a ledger.

Spend by dimension is the sum of calls. A budget's spend is read from its rows, which include
adjustments, as decisions read it.
"""

import itertools
import json
import sqlite3
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, tzinfo

from sidecar.domain.decisions import Limit
from sidecar.domain.forecast import RECENT_US, BudgetForecast, Point, forecast_span, recent_us
from sidecar.domain.retirement import Retirement
from sidecar.domain.spend_report import Dimension, Spend, SpendReport
from sidecar.domain.windows import Calendar, Span
from sidecar.ledger import latest_limits
from sidecar.ledger.balances import STILL_OPEN, Balances, LedgerTime, still_open
from sidecar.ledger.spend_sums import spend_sums

# The scopes for which a limit has rows that still count.
_SCOPES = """
SELECT DISTINCT scope FROM budgets WHERE rule = ? AND meter = ? AND window = ?
  AND (window_end_us > ? OR window_start_us = ?) ORDER BY scope"""

# The window of the same anchor that was opened last: in a ledger of another time zone, no row
# begins when the current window does.
_SPAN = f"""
SELECT window_start_us, window_end_us {STILL_OPEN} AND starts_on = ?9 AND starts_at = ?10
ORDER BY counted_at_us DESC, id DESC LIMIT 1"""

_ROWS = f"SELECT id {STILL_OPEN}"

# No index finds the holds of a budget, so one reading of all holds serves all budgets. Their rows
# are a JSON list: [row, the budget's number, when its first step begins, the length of a step].
_CHARGED = """
WITH wanted AS MATERIALIZED (SELECT value ->> 0 AS budget, value ->> 1 AS number,
  value ->> 2 AS start_us, value ->> 3 AS step_us FROM json_each(?1))
SELECT number, (h.closed_at_us - start_us) / step_us AS step, sum(a.value ->> 3)
FROM holds h CROSS JOIN json_each(h.amounts) a CROSS JOIN wanted ON budget = a.value ->> 0
WHERE h.closed_at_us >= ?2 AND (?3 OR h.closed_at_us >= start_us)
GROUP BY number, step"""

_ADJUSTED = """
SELECT value ->> 1, (adjusted_at_us - (value ->> 2)) / (value ->> 3), amount
FROM adjustments JOIN json_each(?1) ON budget = value ->> 0"""

_RETIREMENTS = """
SELECT r.model, r.retires_at_us, r.replaced_by FROM model_retirements r WHERE EXISTS (
  SELECT 1 FROM holds JOIN decisions d USING (id) WHERE state IN ('settled', 'expired')
  AND d.model = r.model AND d.decided_at_us >= ? AND d.decided_at_us < ?)
ORDER BY r.retires_at_us, r.model"""

# The latest refusal by each budget. See rows.budgets_to_json for the indexes: those of denials.
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
        """Return the spend of these days; see spend_sums.py."""
        return spend_sums(self._sql, self._zone, by, days)

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
        found = [
            self._forecast(limit, limit.ceiling, refusals)
            for rule in latest_limits.rules(self._sql)
            for limit in self._limits(rule)
            if limit.ceiling is not None
        ]
        recent = self._recent(found)
        return [replace(one, recent=recent[number]) for number, one in enumerate(found)]

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
        """Return a budget's forecast, to which what is recent has to be added."""
        balance, rows = self._balances.of(limit, self.at_us), self._rows(limit)
        span = balance.span
        if balance.row is None:
            span = Span(*(self._sql.execute(_SPAN, (*rows, *limit.anchor)).fetchone() or span))
        measured_us = recent_us(limit.window, self.at_us - span.start_us)
        return BudgetForecast(
            limit=limit,
            ceiling=ceiling,
            span=forecast_span(limit.window, span, self.at_us),
            spent=balance.spent,
            held=balance.held,
            at_us=self.at_us,
            recent=0,
            recent_us=measured_us,
            refused_at_us=refusals.get((limit.rule, limit.scope, span.start_us)),
        )

    def _recent(self, forecasts: Sequence[BudgetForecast]) -> Counter[int]:
        """Return what calls were charged in the recent time of each forecast, by its number."""
        scales = [(self.at_us - one.recent_us, one.recent_us) for one in forecasts]
        since_us = min((start_us for start_us, _ in scales), default=0)
        rows = self._numbered(forecasts, scales)
        recent: Counter[int] = Counter()
        for number, _, amount in self._sql.execute(_CHARGED, (rows, since_us, False)):
            recent[number] += amount
        return recent

    def curves(self, forecasts: Sequence[BudgetForecast], steps: int = 96) -> list[list[Point]]:
        """Return the growth of each budget's spend so far, at most one point for each step.

        A call counts from the time of its charge, an adjustment from the time it was made.
        """
        scales = [
            (one.span.start_us, max(1, (one.span.end_us - one.span.start_us) // steps))
            for one in forecasts
        ]
        rows = self._numbered(forecasts, scales)
        growths: list[Counter[int]] = [Counter() for _ in forecasts]
        charged = self._sql.execute(_CHARGED, (rows, 0, True))
        adjusted = self._sql.execute(_ADJUSTED, (rows,))
        for number, step, amount in itertools.chain(charged, adjusted):
            growths[number][step] += amount
        return [
            self._curve(one, growths[number], *scales[number])
            for number, one in enumerate(forecasts)
        ]

    def _curve(
        self,
        forecast: BudgetForecast,
        growth: Mapping[int, int],
        start_us: int,
        step_us: int,
    ) -> list[Point]:
        spent = forecast.spent - sum(growth.values())  # the opening balance (L2)
        points = [Point(start_us, spent)]
        for step, amount in sorted(growth.items()):
            spent += amount
            after_us = max(start_us, start_us + (step + 1) * step_us)
            points.append(Point(min(after_us, self.at_us), spent))
        return [*points, Point(self.at_us, spent)]

    def _numbered(
        self, forecasts: Sequence[BudgetForecast], scales: Sequence[tuple[int, int]]
    ) -> str:
        """Return the rows of all budgets for _CHARGED, with the two values of each."""
        return json.dumps([
            (row, number, *scales[number])
            for number, one in enumerate(forecasts)
            for (row,) in self._sql.execute(_ROWS, self._rows(one.limit))
        ])  # fmt: skip

    def _span(self, limit: Limit) -> Span:
        """Return the limit's current window."""
        return self.calendar.span(limit.window, self.at_us, limit.anchor)

    def _rows(self, limit: Limit) -> tuple[str | int, ...]:
        """Return the parameters of STILL_OPEN."""
        return still_open(limit, self._span(limit), self.at_us)
