"""Checks of the promises in a simulated world: of responses, and of the ledger file."""

import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass

from sidecar.domain.decisions import Budget, Charge, Decision, Effect, Meter
from sidecar.domain.windows import FOREVER_US
from sidecar.ledger.replays import REQUEST_ID
from sidecar.ledger.verify import verify

# Each query returns a row of text for each violation of its promise.
_ADMISSIONS = {
    "L1 a budget is above its ceiling by more than its overruns": """
        SELECT b.rule || ': ' || (b.spent + b.held) || ' of ' || b.ceiling
        FROM budgets b JOIN hold_amounts a ON a.budget = b.id WHERE b.window <> 'minute'
        GROUP BY b.id HAVING min(a.charge_on_expiry) AND b.opening IS NULL
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
        SELECT request_id FROM all_decisions GROUP BY fingerprint HAVING count(*) > 1""",
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
          lag(decided_at_us) OVER (ORDER BY id) AS before_us FROM all_decisions)
        WHERE decided_at_us < before_us""",
}
_ALERTS = {
    "A1 a decision reached a threshold without an alert": """
        SELECT d.decision_id || ': ' || percent || ' % of ' || b.rule
        FROM all_decisions d JOIN decision_budgets b ON b.decision = d.id,
          (SELECT 50 AS percent UNION SELECT 80 UNION SELECT 100)
        WHERE b.rule IN ('hour', 'day', 'week', 'month', 'total')
          AND coalesce(b.window_end_us, :pruned_us) >= :pruned_us
          AND (b.spent + b.held) * 100 >= percent * b.ceiling
          AND NOT EXISTS (SELECT 1 FROM alerts a WHERE a.kind = 'threshold'
            AND a.rule = b.rule AND a.scope = b.scope
            AND a.window_start_us = b.window_start_us AND a.percent = percent)""",
    "A1 a limit without room has a threshold without an alert": """
        SELECT d.decision_id || ': ' || b.rule
        FROM all_decisions d JOIN decision_budgets b ON b.decision = d.id, json_each(d.reasons) r
        WHERE r.value ->> 'rule' = b.rule AND coalesce(b.window_end_us, :pruned_us) >= :pruned_us
          AND b.rule IN ('hour', 'day', 'week', 'month', 'total')
          AND 3 <> (SELECT count(*) FROM alerts a WHERE a.kind = 'threshold'
            AND a.rule = b.rule AND a.scope = b.scope
            AND a.window_start_us = b.window_start_us)""",
    "A1 a threshold has two alerts": """
        SELECT rule || ': ' || percent FROM alerts
        GROUP BY kind, rule, scope, window_start_us, percent HAVING count(*) > 1""",
    "A1 an alert is about a threshold that no decision reached": """
        SELECT a.rule || ': ' || percent FROM alerts a
        WHERE a.kind = 'threshold' AND a.raised_at_us >= :pruned_us AND NOT EXISTS (
          SELECT 1 FROM all_decisions d JOIN decision_budgets b ON b.decision = d.id
          WHERE d.decided_at_us = a.raised_at_us AND b.rule = a.rule AND b.scope = a.scope
            AND b.window_start_us = a.window_start_us
            AND ((b.spent + b.held) * 100 >= percent * b.ceiling
              OR d.reasons LIKE '%"rule":"' || a.rule || '"%'))""",
    "A1 a hold overran or expired, and its workspace has no alert in that hour": """
        SELECT h.hold_id FROM holds h JOIN decisions d USING (id)
        WHERE (h.overrun OR h.state = 'expired') AND h.closed_at_us >= :pruned_us
          AND NOT EXISTS (SELECT 1 FROM alerts a WHERE a.scope = d.workspace
            AND a.kind = CASE WHEN h.overrun THEN 'overrun' ELSE 'expired' END
            AND h.closed_at_us >= a.window_start_us AND h.closed_at_us < a.window_end_us)""",
}
_KEPT = f"""
    SELECT {REQUEST_ID}, d.decision_id, coalesce(h.hold_id, ''), h.state, h.charged_cost_nano_usd,
      h.charged_input_tokens + h.charged_output_tokens, h.overrun
    FROM all_decisions d LEFT JOIN holds h USING (id)"""
_USED = """
    SELECT coalesce(sum(used), 0) FROM (
      SELECT CASE h.state WHEN 'open' THEN a.held ELSE a.charged END AS used
      FROM budgets b JOIN hold_amounts a ON a.budget = b.id JOIN holds h ON h.id = a.hold
        JOIN decisions d ON d.id = h.id
      WHERE b.rule = ?1 AND b.scope = ?2 AND d.decided_at_us >= ?3 AND d.decided_at_us < ?4
      UNION ALL SELECT opening FROM budgets
      WHERE rule = ?1 AND scope = ?2 AND window_start_us >= ?3 AND window_start_us < ?4)"""


class BrokenPromiseError(AssertionError):
    """A promise is broken; the text begins with its number."""


@dataclass
class Responses:
    """The responses to one request."""

    at_us: int
    """A time before the decision."""
    decision: Decision
    closed: tuple[int, int, bool] | None = None
    """The charge in the response that closed the hold: cost, tokens, overrun."""


class Promises:
    """Records the responses, and checks them and the ledger."""

    def __init__(self) -> None:
        """Start without responses."""
        self.responses: dict[str, Responses] = {}
        self.pruned_before_us = 0
        """Decisions before this time may have been pruned."""

    def check_decision(self, at_us: int, decision: Decision, amounts: dict[Meter, int]) -> None:
        """L3: a repeat gets the same response. L1: the decision fits its budgets."""
        earlier = self.responses.get(decision.request_id)
        if earlier is not None and earlier.decision != decision:
            text = f"L3 {decision.request_id} got another response"
            self._check(self._is_pruned(earlier), text, decision)
            earlier = None
        if earlier is None:
            self.responses[decision.request_id] = Responses(at_us, decision)
        full = {b.rule for b in decision.budgets if _used(b) > (b.ceiling or 0)}
        if decision.effect is Effect.ALLOW:
            self._check(not full, "L1 allowed above the ceiling", decision)
        refused = {reason.rule for reason in decision.reasons}
        for budget in decision.budgets:
            fits = _used(budget) + amounts[budget.meter] <= (budget.ceiling or 0)
            self._check(
                not fits or budget.rule not in refused, "L1 refused a call that fits", decision
            )

    def check_charge(self, request_id: str, charge: Charge, expected: set[int]) -> None:
        """L3: a hold closes once, with the usage of one of the requests to close it."""
        responses = self.responses[request_id]
        closed = (charge.cost_nano_usd, charge.tokens, charge.overrun)
        if responses.closed is None:
            self._check(charge.tokens in expected, f"L3 {request_id} has another charge", closed)
        else:
            self._check(closed == responses.closed, f"L3 {request_id} closed twice", closed)
        responses.closed = closed

    def check_unknown_hold(self, request_id: str) -> None:
        """L4: the ledger knows the hold of every response, unless it may have been pruned."""
        self._check(
            self._is_pruned(self.responses[request_id]), f"L4 the hold of {request_id} is unknown"
        )

    def check_reuse(self, request_id: str) -> None:
        """L3: an id is not accepted with other content, unless the first may have been pruned."""
        earlier = self.responses.pop(request_id)
        self._check(self._is_pruned(earlier), f"L3 {request_id} has two contents")

    def check_admissions(self, connection: sqlite3.Connection) -> None:
        """L1: no call was admitted above a ceiling. To be called after each commit."""
        self._check_queries(connection, _ADMISSIONS)

    def check_budgets(self, connection: sqlite3.Connection, budgets: Sequence[Budget]) -> None:
        """L6, L8: a budget is the sum of its holds in its window, with those that were pruned."""
        for b in budgets:
            if b.rule != "minute":  # whose rows are seconds
                window = (b.window_start_us or 0, b.window_end_us or FOREVER_US)
                (used,) = connection.execute(_USED, (b.rule, b.scope, *window)).fetchone()
                self._check(used == _used(b), f"L8 {b.rule} is not the sum of its holds", used, b)

    def check_ledger(self, connection: sqlite3.Connection) -> None:
        """L2 to L6, L9: the ledger is consistent, and contains every response."""
        findings, _ = verify(connection)
        self._check(not findings, findings[0].promise if findings else "", findings)
        self._check_queries(connection, _ADMISSIONS | _HISTORY)
        self._check_queries(connection, _ALERTS, {"pruned_us": self.pruned_before_us})
        kept = {row[0]: row[1:] for row in connection.execute(_KEPT)}
        for request_id, responses in self.responses.items():
            decision_id, hold_id, state, *charged = kept.get(request_id, (None, None, None))
            decision = responses.decision
            same = (decision_id, hold_id) == (decision.decision_id, decision.hold_id)
            self._check(
                same or self._is_pruned(responses), f"L4 the decision on {request_id} is lost"
            )
            if same and responses.closed is not None:
                closed = state in ("settled", "released") and tuple(charged) == responses.closed
                self._check(closed, f"L4 the charge of {request_id} is lost", state, charged)

    def _is_pruned(self, responses: Responses) -> bool:
        """Whether the decision may have been pruned."""
        return responses.at_us < self.pruned_before_us

    def _check_queries(
        self,
        connection: sqlite3.Connection,
        queries: dict[str, str],
        values: dict[str, int] | tuple[()] = (),
    ) -> None:
        for promise, query in queries.items():
            found = connection.execute(query, values).fetchall()
            self._check(not found, promise, found)

    def _check(self, is_kept: bool, promise: str, *evidence: object) -> None:
        if not is_kept:
            raise BrokenPromiseError(": ".join([promise, *map(str, evidence)]))


def _used(budget: Budget) -> int:
    return budget.spent + budget.held
