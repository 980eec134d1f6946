"""Verification of a ledger file: its promises, recomputed from its rows."""

import itertools
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass

from sidecar.ledger import chain
from sidecar.ledger.denials import denial_counts

# What the holds of each budget have together, read once for all checks of budgets. Without the
# cast, SQLite would search for each budget in all of it.
_SUM_UP = """
CREATE TEMP TABLE sums AS
SELECT b.id, b.rule, b.spent, b.held, b.holds, coalesce(x.held, 0) AS held_by_holds,
  coalesce(x.charged, 0) + coalesce(b.opening, 0) + coalesce(
    (SELECT sum(amount) FROM adjustments WHERE budget = b.id), 0) AS charged,
  coalesce(x.holds, 0) AS counted_holds
FROM budgets b LEFT JOIN (
  SELECT CAST(a.value ->> 0 AS INTEGER) AS budget, count(*) AS holds,
    sum(iif(h.state = 'open', a.value ->> 1, 0)) AS held,
    sum(iif(h.state = 'open', 0, a.value ->> 3)) AS charged
  FROM holds h, json_each(h.amounts) a GROUP BY 1
) x ON x.budget = b.id"""

# Each query returns a text for each row that breaks the promise.
_CHECKS: dict[str, str] = {
    "L2 a budget's held is not the sum of its open holds": """
        SELECT 'budget ' || id || ' (' || rule || '): held ' || held || ', open holds '
          || held_by_holds FROM temp.sums WHERE held <> held_by_holds""",
    "L2 a budget's spent is not its opening balance, closed holds and adjustments": """
        SELECT 'budget ' || id || ' (' || rule || '): spent ' || spent || ', opening balance,'
          || ' closed holds and adjustments ' || charged FROM temp.sums WHERE spent <> charged""",
    "L2 a budget has another number of holds than it counts": """
        SELECT 'budget ' || id || ' (' || rule || '): counts ' || holds || ', has '
          || counted_holds FROM temp.sums WHERE holds <> counted_holds""",
    "L2 a hold's cost is not what its budgets were charged": """
        SELECT 'hold ' || h.hold_id || ', budget ' || b.id || ': ' || a.charged || ' charged'
        FROM holds h JOIN hold_amounts a ON a.hold = h.id JOIN budgets b ON b.id = a.budget
        WHERE h.state = 'settled' AND b.window <> 'concurrent' AND a.charged <> CASE b.meter
          WHEN 'cost' THEN h.charged_cost_nano_usd
          WHEN 'tokens' THEN h.charged_input_tokens + h.charged_output_tokens ELSE a.held END""",
    "L2 an expired hold's cost is not what its budgets were charged": """
        SELECT 'hold ' || h.hold_id || ': ' || h.charged_cost_nano_usd || ' charged'
        FROM holds h WHERE h.state = 'expired' AND h.charged_cost_nano_usd <> coalesce(
          (SELECT max(a.value ->> 3) FROM json_each(h.amounts) a CROSS JOIN budgets b
           ON b.id = a.value ->> 0 WHERE b.meter = 'cost' AND b.window <> 'concurrent'),
          h.held_cost_nano_usd)""",
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
          WHERE d.id = n.id OR d.request_id = n.request_id)
        UNION ALL SELECT min(decision_id) FROM all_decisions WHERE instr(decision_id, '-') = 0
        GROUP BY decision_id HAVING count(*) > 1""",
    "L3 an id is not that of its row": """
        SELECT 'decision ' || decision_id FROM all_decisions WHERE instr(decision_id, '-') > 0
          AND decision_id NOT GLOB printf('dec_%x-*', id)
        UNION ALL SELECT 'hold ' || hold_id FROM holds WHERE instr(hold_id, '-') > 0
          AND hold_id NOT GLOB printf('hold_%x-*', id)""",
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
        FROM pragma_foreign_key_check
        UNION ALL SELECT 'hold ' || hold_id || ' has no budget ' || (a.value ->> 0)
        FROM holds, json_each(amounts) a
        WHERE a.value ->> 0 NOT IN (SELECT id FROM budgets)""",
}

_COUNTED = ("decisions", "denials", "holds", "budgets", "adjustments", "time_corrections")

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
    try:
        connection.execute(_SUM_UP)
    except sqlite3.OperationalError as error:
        if error.sqlite_errorcode != sqlite3.SQLITE_ERROR:
            raise  # such as the end of a long read
        findings = list(_unreadable(connection, str(error)))
    else:
        findings = [*_broken_promises(connection), *_broken_chains(connection)]
    counts = {
        table: connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0]  # noqa: S608
        for table in _COUNTED
    }
    counts["dropped_denials"] = denial_counts(connection).dropped
    return findings, counts


def _unreadable(connection: sqlite3.Connection, error: str) -> Iterator[VerifyFinding]:
    """Yield the holds whose amounts are no JSON: as long as there are some, nothing adds up."""
    holds = connection.execute("SELECT hold_id FROM holds WHERE NOT json_valid(amounts)")
    for place in [f"hold {one}" for (one,) in holds.fetchmany(MAX_SHOWN)] or [error]:
        yield VerifyFinding("the file is damaged", place)


def _broken_promises(connection: sqlite3.Connection) -> Iterator[VerifyFinding]:
    for promise, query in _CHECKS.items():
        for (place,) in connection.execute(query).fetchmany(MAX_SHOWN):
            yield VerifyFinding(promise, str(place))


def _broken_chains(connection: sqlite3.Connection) -> Iterator[VerifyFinding]:
    last = chain.last_pruning(connection)
    if chain.openings(connection) != (chain.NO_OPENINGS if last is None else last.openings):
        place = "the opening balances of the table budgets"
        yield VerifyFinding("L2 an opening balance is not what pruning recorded", place)
    for place in itertools.islice(chain.breaks(connection), MAX_SHOWN):
        yield VerifyFinding(
            "the decision log was altered", f"{place} was altered, or follows a gap"
        )
