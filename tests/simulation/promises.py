"""The promises that must hold in every simulated world, checked against the file."""

import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass

from sidecar.domain.decisions import Budget, Charge, Decision, Effect, Meter
from sidecar.domain.windows import FOREVER_US
from sidecar.ledger.verify import verify

# Each query returns a row of text for each thing that is wrong.
_ADMISSIONS = {
    "L1 a budget is above its ceiling by more than its overruns": """
        SELECT b.rule || ': ' || (b.spent + b.held) || ' of ' || b.ceiling
        FROM budgets b JOIN hold_amounts a ON a.budget = b.id WHERE b.window <> 'minute'
        GROUP BY b.id HAVING min(a.charge_on_expiry)
          AND b.spent + b.held > b.ceiling + sum(max(0, a.charged - a.held))""",
    "L1 sixty seconds admitted more than the ceiling": """
        SELECT rule || ': ' || admitted || ' of ' || ceiling FROM (
          SELECT b.rule, b.ceiling, count(*) OVER (PARTITION BY b.rule, b.scope
            ORDER BY d.decided_at_us RANGE BETWEEN 59999999 PRECEDING AND CURRENT ROW) AS admitted
          FROM budgets b JOIN hold_amounts a ON a.budget = b.id JOIN holds h ON h.id = a.hold
            JOIN decisions d ON d.id = h.id
          WHERE b.window = 'minute' AND b.meter = 'requests' AND h.state <> 'released')
        WHERE admitted > ceiling""",
}
_HISTORY = {
    "L3 one request has two decisions": """
        SELECT request_id FROM decisions GROUP BY fingerprint HAVING count(*) > 1""",
    "L5 an expired hold is not charged as its limits say": """
        SELECT b.rule || ': ' || h.hold_id FROM hold_amounts a JOIN holds h ON h.id = a.hold
          JOIN budgets b ON b.id = a.budget
        WHERE h.state = 'expired' AND b.window <> 'concurrent'
          AND a.charged <> a.held * a.charge_on_expiry""",
    "L6 a hold counts in a window that it was not authorized in": """
        SELECT b.rule || ': ' || h.hold_id FROM hold_amounts a JOIN holds h ON h.id = a.hold
          JOIN decisions d ON d.id = h.id JOIN budgets b ON b.id = a.budget
        WHERE NOT (b.window_start_us <= d.decided_at_us AND d.decided_at_us < b.window_end_us)""",
    "L9 a decision is earlier than the one before it": """
        SELECT decision_id FROM (SELECT decision_id, decided_at_us,
          lag(decided_at_us) OVER (ORDER BY id) AS before_us FROM decisions)
        WHERE decided_at_us < before_us""",
}
_ALERTS = {
    "A1 a decision reached a threshold without an alert": """
        SELECT d.decision_id || ': ' || percent || ' % of ' || (b.value ->> 0)
        FROM decisions d, json_each(d.budgets) b,
          (SELECT 50 AS percent UNION SELECT 80 UNION SELECT 100)
        WHERE b.value ->> 0 IN ('hour', 'day', 'month') AND b.value ->> 4 >= :forgotten_us
          AND ((b.value ->> 6) + (b.value ->> 7)) * 100 >= percent * (b.value ->> 5)
          AND NOT EXISTS (SELECT 1 FROM alerts a WHERE a.kind = 'threshold'
            AND a.rule = b.value ->> 0 AND a.scope = b.value ->> 2
            AND a.window_start_us = b.value ->> 3 AND a.percent = percent)""",
    "A1 a limit without room has a threshold without an alert": """
        SELECT d.decision_id || ': ' || (b.value ->> 0)
        FROM decisions d, json_each(d.budgets) b, json_each(d.reasons) r
        WHERE r.value ->> 'rule' = b.value ->> 0 AND b.value ->> 4 >= :forgotten_us
          AND b.value ->> 0 IN ('hour', 'day', 'month')
          AND 3 <> (SELECT count(*) FROM alerts a WHERE a.kind = 'threshold'
            AND a.rule = b.value ->> 0 AND a.scope = b.value ->> 2
            AND a.window_start_us = b.value ->> 3)""",
    "A1 a threshold is told of twice": """
        SELECT rule || ': ' || percent FROM alerts
        GROUP BY kind, rule, scope, window_start_us, percent HAVING count(*) > 1""",
    "A1 an alert tells of what no decision reached": """
        SELECT a.rule || ': ' || percent FROM alerts a
        WHERE a.kind = 'threshold' AND a.raised_at_us >= :forgotten_us AND NOT EXISTS (
          SELECT 1 FROM decisions d, json_each(d.budgets) b WHERE d.decided_at_us = a.raised_at_us
            AND b.value ->> 0 = a.rule AND b.value ->> 2 = a.scope
            AND b.value ->> 3 = a.window_start_us
            AND (((b.value ->> 6) + (b.value ->> 7)) * 100 >= percent * (b.value ->> 5)
              OR d.reasons LIKE '%"rule":"' || a.rule || '"%'))""",
    "A1 a hold overran or expired, and its workspace is not told in that hour": """
        SELECT h.hold_id FROM holds h JOIN decisions d USING (id)
        WHERE (h.overrun OR h.state = 'expired') AND h.closed_at_us >= :forgotten_us
          AND NOT EXISTS (SELECT 1 FROM alerts a WHERE a.scope = d.workspace
            AND a.kind = CASE WHEN h.overrun THEN 'overrun' ELSE 'expired' END
            AND h.closed_at_us >= a.window_start_us AND h.closed_at_us < a.window_end_us)""",
}
_KEPT = """
    SELECT d.request_id, d.decision_id, coalesce(h.hold_id, ''), h.state, h.charged_cost_nano_usd,
      h.charged_input_tokens + h.charged_output_tokens, h.overrun
    FROM decisions d LEFT JOIN holds h USING (id)"""
_USED = """
    SELECT coalesce(sum(CASE h.state WHEN 'open' THEN a.held ELSE a.charged END), 0)
    FROM budgets b JOIN hold_amounts a ON a.budget = b.id JOIN holds h ON h.id = a.hold
      JOIN decisions d ON d.id = h.id
    WHERE b.rule = ? AND b.scope = ? AND d.decided_at_us >= ? AND d.decided_at_us < ?"""


class BrokenError(AssertionError):
    """A promise does not hold; the text begins with its number."""


@dataclass
class Told:
    """The responses to one request."""

    at_us: int
    """No later than the decision was made."""
    decision: Decision
    closed: tuple[int, int, bool] | None = None
    """What the hold was charged, as in a response: cost, tokens, overrun."""


class Promises:
    """Records the responses, and checks the ledger against them."""

    def __init__(self) -> None:
        """Start without responses."""
        self.told: dict[str, Told] = {}
        self.forgotten_before_us = 0
        """What is older than this may have been pruned."""

    def decision(self, at_us: int, decision: Decision, amounts: dict[Meter, int]) -> None:
        """L3: a repeat gets the same response. L1: a response was right at its time."""
        told = self.told.get(decision.request_id)
        if told is not None and told.decision != decision:
            self._must(self._old(told), f"L3 {decision.request_id} got another answer", decision)
            told = None
        if told is None:
            self.told[decision.request_id] = Told(at_us, decision)
        full = {b.rule for b in decision.budgets if _used(b) > (b.ceiling or 0)}
        if decision.effect is Effect.ALLOW:
            self._must(not full, "L1 allowed above the ceiling", decision)
        refused = {reason.rule for reason in decision.reasons}
        for budget in decision.budgets:
            fits = _used(budget) + amounts[budget.meter] <= (budget.ceiling or 0)
            self._must(not fits or budget.rule not in refused, "L1 refused what fits", decision)

    def charge(self, request_id: str, charge: Charge, expected: set[int]) -> None:
        """L3: a hold closes once, with the values of one of the requests that closed it."""
        told = self.told[request_id]
        closed = (charge.cost_nano_usd, charge.tokens, charge.overrun)
        if told.closed is None:
            self._must(charge.tokens in expected, f"L3 {request_id} charged otherwise", closed)
        else:
            self._must(closed == told.closed, f"L3 {request_id} closed twice", closed)
        told.closed = closed

    def unknown(self, request_id: str) -> None:
        """L4: no hold in a response is unknown, unless it may have been pruned."""
        self._must(self._old(self.told[request_id]), f"L4 the hold of {request_id} is unknown")

    def reused(self, request_id: str) -> None:
        """L3: an id is not used for something else, unless the first may have been pruned."""
        self._must(self._old(self.told.pop(request_id)), f"L3 {request_id} stands for two requests")

    def admissions(self, connection: sqlite3.Connection) -> None:
        """L1: nothing was admitted above a ceiling. To be called after each commit."""
        self._none(connection, _ADMISSIONS)

    def budgets(self, connection: sqlite3.Connection, budgets: Sequence[Budget]) -> None:
        """L6, L8: a budget is the sum of what its holds took in its window."""
        for b in budgets:
            if b.rule != "minute":  # which counts by the second
                window = (b.window_start_us or 0, b.window_end_us or FOREVER_US)
                (used,) = connection.execute(_USED, (b.rule, b.scope, *window)).fetchone()
                self._must(used == _used(b), f"L8 {b.rule} is not the sum of its holds", used, b)

    def everything(self, connection: sqlite3.Connection) -> None:
        """L2 to L6, L9: the file adds up, and has all that responses said."""
        findings, _ = verify(connection)
        self._must(not findings, findings[0].promise if findings else "", findings)
        self._none(connection, _ADMISSIONS | _HISTORY)
        self._none(connection, _ALERTS, {"forgotten_us": self.forgotten_before_us})
        kept = {row[0]: row[1:] for row in connection.execute(_KEPT)}
        for request_id, told in self.told.items():
            decision_id, hold_id, state, *charged = kept.get(request_id, (None, None, None))
            same = (decision_id, hold_id) == (told.decision.decision_id, told.decision.hold_id)
            self._must(same or self._old(told), f"L4 the answer to {request_id} is lost")
            if same and told.closed is not None:
                closed = state in ("settled", "released") and tuple(charged) == told.closed
                self._must(closed, f"L4 the end of {request_id} is lost", state, charged)

    def _old(self, told: Told) -> bool:
        return told.at_us < self.forgotten_before_us

    def _none(
        self,
        connection: sqlite3.Connection,
        queries: dict[str, str],
        values: dict[str, int] | tuple[()] = (),
    ) -> None:
        for promise, query in queries.items():
            found = connection.execute(query, values).fetchall()
            self._must(not found, promise, found)

    def _must(self, holds: bool, promise: str, *evidence: object) -> None:
        if not holds:
            raise BrokenError(": ".join([promise, *map(str, evidence)]))


def _used(budget: Budget) -> int:
    return budget.spent + budget.held
