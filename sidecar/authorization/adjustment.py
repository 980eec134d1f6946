"""The check of an adjustment that an operator requests: limit, scope and amount."""

from collections.abc import Iterable
from typing import TYPE_CHECKING

from sidecar.domain.amounts import parse_amount
from sidecar.ledger.protocol import NotAdjustableError, OperatorLedger
from sidecar.policy.files.problems import did_you_mean
from sidecar.v1 import admin_pb2 as pb

if TYPE_CHECKING:
    from sidecar.policy.policy_set import PolicySet

MAX_COMPARED = 1000
"""Scopes of the ledger, the newest first, that a mistyped one is compared with."""


def adjustment_units(
    ledger: OperatorLedger, request: pb.AdjustRequest, policy: "PolicySet | None" = None
) -> int:
    """Return a request's amount in the unit of its limit: requests, tokens or nano-USD.

    Without a policy set, only the limits and budgets in the ledger are known. Raises
    NotAdjustableError for another limit, and for another budget unless the request says that
    it is new; ValueError for the amount; LedgerUnavailableError.
    """
    _check_rule(ledger, request.rule, policy)
    if not request.new_budget:
        _check_scope(ledger, request.rule, request.scope, policy)
    return parse_amount(ledger.meter_of(request.rule), request.amount)


def _check_rule(ledger: OperatorLedger, rule: str, policy: "PolicySet | None") -> None:
    """Refuse a limit that counts no call, which an adjustment would give no room."""
    if policy is not None:
        known = {limit.id for limit in policy.limits}
        if rule not in known:
            raise _unknown(f"the policies have no limit named {rule}", rule, known)
    counted = ledger.counted_rules()
    if rule not in counted:
        raise _unknown(f"no call has counted on a limit named {rule}", rule, counted)


def _check_scope(ledger: OperatorLedger, rule: str, scope: str, policy: "PolicySet | None") -> None:
    """Refuse a scope that is in neither the ledger nor the data files: it may be mistyped."""
    if ledger.has_budget(rule, scope):
        return
    by_data = frozenset[str]()
    if policy is not None:
        # Imported here because the evaluators are slow to import, and a command on a ledger file
        # needs none.
        from sidecar.policy.static_values import scopes_from_data  # noqa: PLC0415

        (limit,) = (limit for limit in policy.limits if limit.id == rule)
        by_data = scopes_from_data(policy, limit)
    if scope not in by_data:
        known = {*by_data, *ledger.scopes_of(rule, MAX_COMPARED)}
        raise _unknown(
            f"{rule} has no budget for {scope}, which --new-budget (new_budget) would make",
            scope,
            known,
        )


def _unknown(message: str, name: str, known: Iterable[str]) -> NotAdjustableError:
    hint = did_you_mean(name, known)
    return NotAdjustableError(f"{message}; {hint}" if hint else message)
