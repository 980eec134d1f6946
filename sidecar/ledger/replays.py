"""Replays (L3): the decision that a ledger has for a request_id, and whose ids those are."""

import hashlib
import sqlite3
from typing import Any

from sidecar.domain.decisions import Budget, CallFacts, Decision, Effect, HoldState, Meter
from sidecar.ledger import rows
from sidecar.ledger.protocol import RequestIdReusedError

_OF = "\x1f"
"""Ends a request_id in the ledger, before the digest of its scope. No request_id has one."""

REQUEST_ID = "substr(d.request_id, 1, instr(d.request_id || char(31), char(31)) - 1)"
"""The request_id of decisions d, as callers know it."""


def request_key(call: CallFacts) -> str | None:
    """Return what the ledger knows a call's request_id by; None without one.

    An id belongs to its proven owner, else to its principal and workspace, so that no other
    caller can take it, or learn that it was used.
    """
    if not call.request_id:
        return None
    scope = ["", call.owner] if call.owner else [call.principal_id, call.workspace]
    digest = hashlib.blake2s(_OF.join(scope).encode(), digest_size=12).hexdigest()
    return f"{call.request_id}{_OF}{digest}"


def recorded_decision(
    connection: sqlite3.Connection, call: CallFacts, at_us: int
) -> Decision | None:
    """Return the decision recorded for a call's request_id, with its hold's state now.

    Raises RequestIdReusedError if that was another call.
    """
    if not call.request_id:
        return None
    names = (request_key(call), call.request_id, call.principal_id, call.workspace)
    found = connection.execute(_EARLIER, names).fetchone()
    if found is None:
        return None
    row, fingerprint = found
    if fingerprint != call.fingerprint:
        raise RequestIdReusedError
    budgets = tuple(
        Budget(rule, Meter(meter), *rest)
        for rule, meter, *rest in connection.execute(_BUDGETS, (row,))
    )
    return _replayed(connection.execute(_DECISION, (row,)).fetchone(), budgets, at_us)


# Decisions before version 0012 have the bare request_id.
_EARLIER = (
    "SELECT id, fingerprint FROM decisions WHERE request_id = ?1"
    " OR (request_id = ?2 AND principal = ?3 AND workspace = ?4)"
    " UNION ALL SELECT id, fingerprint FROM denials WHERE request_id = ?1"
)
_DECISION = f"""
SELECT {REQUEST_ID}, d.decision_id, d.effect, d.reasons, d.shadow_reasons,
  d.retry_after_us, d.model, d.max_output_tokens, p.digest, d.policy_generation,
  h.hold_id, h.expires_at_us, h.held_cost_nano_usd, h.state
FROM all_decisions d JOIN policy_sets p ON p.id = d.policy_set LEFT JOIN holds h ON h.id = d.id
WHERE d.id = ?
"""  # noqa: S608 - our own columns


_BUDGETS = """
SELECT rule, meter, scope, window_start_us, window_end_us, ceiling, spent, held
FROM decision_budgets WHERE decision = ? ORDER BY place"""


def _replayed(row: tuple[Any, ...], budgets: tuple[Budget, ...], at_us: int) -> Decision:
    """Read a row of _DECISION, for the response to a replay at this time.

    An open hold that is due counts as expired.
    """
    (
        request_id, decision_id, effect, reasons, shadow_reasons, retry_after_us, model_id,
        max_output_tokens, digest, generation, hold_id, expires_at_us, held_cost_nano_usd,
        state,
    ) = row  # fmt: skip
    hold_state = None if state is None else HoldState(state)
    if hold_state is HoldState.OPEN and expires_at_us <= at_us:
        hold_state = HoldState.EXPIRED
    return Decision(
        request_id=request_id or "",
        decision_id=decision_id,
        effect=Effect(effect),
        reasons=rows.reasons_from_json(reasons),
        shadow_reasons=rows.reasons_from_json(shadow_reasons),
        budgets=budgets,
        retry_after_us=retry_after_us,
        model_id=model_id,
        max_output_tokens=max_output_tokens,
        policy_digest=digest,
        policy_generation=generation,
        hold_id=hold_id or "",
        hold_expires_at_us=expires_at_us or 0,
        held_cost_nano_usd=held_cost_nano_usd or 0,
        replayed=True,
        hold_state=hold_state,
    )
