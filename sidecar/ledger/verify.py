"""Verification of a ledger file: its promises, recomputed from its rows."""

import itertools
import sqlite3
from dataclasses import dataclass

from sidecar.ledger import chain
from sidecar.ledger.denials import denial_counts

# Each query returns a text for each row that breaks the promise.
_CHECKS: dict[str, str] = {
    "L2 a budget's held is not the sum of its open holds": """
        SELECT 'budget ' || b.id || ' (' || b.rule || '): held ' || b.held || ', open holds '
          || coalesce(sum(x.held), 0) FROM budgets b LEFT JOIN
          (SELECT a.budget, a.held FROM hold_amounts a JOIN holds h ON h.id = a.hold
           WHERE h.state = 'open') x ON x.budget = b.id
        GROUP BY b.id HAVING b.held <> coalesce(sum(x.held), 0)""",
    "L2 a budget's spent is not its opening balance, closed holds and adjustments": """
        SELECT 'budget ' || b.id || ' (' || b.rule || '): spent ' || b.spent || ', opening balance,'
          || ' closed holds and adjustments ' || coalesce(sum(x.charged), 0)
        FROM budgets b LEFT JOIN (SELECT id AS budget, opening AS charged FROM budgets UNION ALL
          SELECT a.budget, a.charged FROM hold_amounts a JOIN holds h ON h.id = a.hold
           WHERE h.state <> 'open' UNION ALL SELECT budget, amount FROM adjustments) x
          ON x.budget = b.id
        GROUP BY b.id HAVING b.spent <> coalesce(sum(x.charged), 0)""",
    "L2 a hold's cost is not what its budgets were charged": """
        SELECT 'hold ' || h.hold_id || ', budget ' || b.id || ': ' || a.charged || ' charged'
        FROM holds h JOIN hold_amounts a ON a.hold = h.id JOIN budgets b ON b.id = a.budget
        WHERE h.state = 'settled' AND b.window <> 'concurrent' AND a.charged <> CASE b.meter
          WHEN 'cost' THEN h.charged_cost_nano_usd
          WHEN 'tokens' THEN h.charged_input_tokens + h.charged_output_tokens ELSE a.held END""",
    "L2 an expired hold's cost is not what its budgets were charged": """
        SELECT 'hold ' || h.hold_id || ': ' || h.charged_cost_nano_usd || ' charged'
        FROM holds h LEFT JOIN (SELECT a.hold, a.charged FROM hold_amounts a
          JOIN budgets b ON b.id = a.budget WHERE b.meter = 'cost' AND b.window <> 'concurrent') x
          ON x.hold = h.id WHERE h.state = 'expired' GROUP BY h.id
        HAVING h.charged_cost_nano_usd <> coalesce(max(x.charged), h.held_cost_nano_usd)""",
    "L5 an expired hold is not charged as its limits say": """
        SELECT 'hold ' || h.hold_id || ', budget ' || b.id || ': ' || a.charged || ' charged'
        FROM holds h JOIN hold_amounts a ON a.hold = h.id JOIN budgets b ON b.id = a.budget
        WHERE h.state = 'expired' AND b.window <> 'concurrent'
          AND a.charged <> a.held * a.charge_on_expiry""",
    "L3 an allowed decision has no hold, or a denied one has": """
        SELECT 'decision ' || d.decision_id FROM decisions d LEFT JOIN holds h USING (id)
        WHERE (d.effect = 'allow') <> (h.id IS NOT NULL)""",
    "L3 two decisions have the same id": """
        SELECT 'denial ' || n.decision_id FROM denials n WHERE EXISTS (SELECT 1 FROM decisions d
          WHERE d.id = n.id OR d.decision_id = n.decision_id OR d.request_id = n.request_id)""",
    "L5 an open hold has a charge, or a released one": """
        SELECT DISTINCT 'hold ' || h.hold_id FROM holds h JOIN hold_amounts a ON a.hold = h.id
        WHERE h.state IN ('open', 'released')
          AND (a.charged <> 0 OR h.charged_cost_nano_usd <> 0)""",
    "L7 an amount is negative": """
        SELECT 'budget ' || id || ' (' || rule || ')' FROM budgets
        WHERE held < 0 OR opening < 0 OR spent <
          coalesce((SELECT sum(amount) FROM adjustments WHERE budget = budgets.id), 0)
        UNION ALL SELECT 'hold ' || hold_id FROM holds
        WHERE held_cost_nano_usd < 0 OR charged_cost_nano_usd < 0""",
    "L7 a hold has a cost and no price": """
        SELECT 'hold ' || hold_id FROM holds
        WHERE price IS NULL AND (held_cost_nano_usd <> 0 OR charged_cost_nano_usd <> 0)""",
    # The decision that a correction of the time follows may be gone: a denial is dropped.
    "L9 a decision is earlier than the one before it": """
        SELECT 'decision ' || decision_id FROM (SELECT id AS this, decision_id, decided_at_us,
          lag(id) OVER (ORDER BY id) AS previous,
          lag(decided_at_us) OVER (ORDER BY id) AS previous_us FROM all_decisions)
        WHERE decided_at_us < previous_us AND NOT EXISTS (SELECT 1 FROM time_corrections
          WHERE follows >= previous AND follows < this AND to_us <= decided_at_us)""",
    "A2 an alert has no delivery": """
        SELECT alert_id FROM alerts
        WHERE NOT EXISTS (SELECT 1 FROM alert_deliveries WHERE alert = alerts.id)""",
    "the file is damaged": """
        SELECT integrity_check FROM pragma_integrity_check(10) WHERE integrity_check <> 'ok'""",
    "a row points to one that is gone": """
        SELECT "table" || ' row ' || coalesce(rowid, '?') || ' has no ' || parent
        FROM pragma_foreign_key_check""",
}

MAX_SHOWN = 20


@dataclass(frozen=True, slots=True)
class VerifyFinding:
    """A broken promise, and where."""

    promise: str
    place: str


def verify(connection: sqlite3.Connection) -> tuple[list[VerifyFinding], dict[str, int]]:
    """Recompute all promises; return findings (at most MAX_SHOWN each) and row counts.

    The connection is read-only, and outside of a transaction.
    """
    connection.execute("BEGIN")  # one snapshot, as a sidecar may be writing
    try:
        return _findings(connection)
    finally:
        connection.execute("ROLLBACK")


def _findings(connection: sqlite3.Connection) -> tuple[list[VerifyFinding], dict[str, int]]:
    findings = [
        VerifyFinding(promise, str(place))
        for promise, query in _CHECKS.items()
        for (place,) in connection.execute(query).fetchmany(MAX_SHOWN)
    ]
    last = chain.last_pruning(connection)
    if chain.openings(connection) != (chain.NO_OPENINGS if last is None else last.openings):
        place = "the opening balances of the table budgets"
        findings.append(VerifyFinding("L2 an opening balance is not what pruning recorded", place))
    findings += [
        VerifyFinding("the decision log was altered", f"{place} was altered, or follows a gap")
        for place in itertools.islice(chain.breaks(connection), MAX_SHOWN)
    ]
    counts = {
        table: connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0]  # noqa: S608
        for table in ("decisions", "denials", "holds", "budgets", "adjustments")
    }
    counts["dropped_denials"] = denial_counts(connection).dropped
    return findings, counts
