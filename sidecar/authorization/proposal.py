"""Proposals: one call, judged by one policy set, as the reservation that the ledger decides."""

import hashlib
from dataclasses import dataclass, replace
from typing import NamedTuple

from mistral_spend.v1 import authorization_pb2 as pb

from sidecar.authorization.request_evaluation import (
    EvaluationResult,
    ReadBudgets,
    contradicted,
    endpoint_of,
    evaluate_request,
)
from sidecar.domain.clock import Clock, ClockGuard
from sidecar.domain.decisions import CallFacts, Reason, ReservationRequest
from sidecar.domain.prices import Terms
from sidecar.domain.usage import Usage
from sidecar.policy.policy_set import PolicySet


class Proposal(NamedTuple):
    """The result of all rules for a call, and what the ledger has to decide."""

    evaluation: EvaluationResult
    reservation: ReservationRequest


@dataclass(frozen=True, slots=True)
class Call:
    """A validated request, with the policy set of its arrival and what is known of its caller.

    A `contradiction` between its principal and the authenticated caller denies it. The owner
    is the principal that the caller has proven to be, whom its request_id belongs to.
    """

    policy: PolicySet
    request: pb.AuthorizeRequest
    contradiction: str = ""
    owner: str = ""


@dataclass(frozen=True, slots=True)
class Proposer:
    """Makes proposals at the time of its clock."""

    clock: Clock
    guard: ClockGuard
    hold_ttl_us: int
    """The lifetime of a hold whose request sets none, in microseconds."""
    read_budgets: ReadBudgets

    def propose(self, call: Call, revoked_versions: frozenset[str]) -> Proposal:
        """Judge a call. Raises what reading budgets raises, for policies that do."""
        now_us = self.clock()
        if call.contradiction:
            evaluation = contradicted(call.contradiction)
        else:
            evaluation = evaluate_request(call.policy, call.request, now_us, self.read_budgets)
            evaluation = _with_revocation(evaluation, call.request, revoked_versions)
        return Proposal(evaluation, self._reservation(call, evaluation, now_us))

    def _reservation(
        self, call: Call, evaluation: EvaluationResult, now_us: int
    ) -> ReservationRequest:
        policy = call.policy
        return ReservationRequest(
            call=self._facts(call, evaluation),
            at_us=now_us,
            policy_digest=policy.digest,
            policy_generation=policy.generation,
            reasons=evaluation.reasons,
            shadow_reasons=evaluation.shadow_reasons,
            lines=evaluation.lines,
            share=policy.share,
            retirement=evaluation.retirement,
            clock_behind_us=max(0, self.guard.behind_us()),
        )

    def _facts(self, call: Call, evaluation: EvaluationResult) -> CallFacts:
        request, size = call.request, evaluation.size
        principal = request.principal
        return CallFacts(
            request_id=request.request_id,
            fingerprint=_fingerprint(request, call.contradiction) if request.request_id else b"",
            principal_id=principal.id,
            role=principal.role,
            workspace=principal.workspace,
            key_id=principal.key_id,
            model_requested=request.model,
            model_id=evaluation.model_id,
            endpoint=endpoint_of(call.policy, request),
            max_output_tokens=0 if size is None else size.max_output_tokens,
            most=Usage() if size is None else size.most,
            terms=Terms() if size is None else size.terms,
            cost_nano_usd=evaluation.cost_nano_usd,
            tariff=evaluation.tariff,
            hold_ttl_us=_hold_ttl_us(request) or self.hold_ttl_us,
            owner=call.owner,
        )


def _with_revocation(
    evaluation: EvaluationResult, request: pb.AuthorizeRequest, revoked_versions: frozenset[str]
) -> EvaluationResult:
    """Return the evaluation, with a reason to deny if the call names a revoked version of a key."""
    key_id = request.principal.key_id
    if key_id not in revoked_versions:
        return evaluation
    message = f"version {key_id} is revoked: take the secret of the key's active version"
    revoked = Reason("KEY_REVOKED", message, "", 401)
    return replace(evaluation, reasons=(*evaluation.reasons, revoked))


def _fingerprint(request: pb.AuthorizeRequest, contradiction: str) -> bytes:
    """Return the SHA-256 that is equal if a repeated request id has the same request (L3).

    In a contradicted request, the authenticated principal has replaced the claimed one, so the
    request equals a consistent one. The mark before it keeps it from replaying that one's
    decision. No protobuf message begins with a zero byte, so a mark is never part of one.
    """
    mark = f"\0{contradiction}\0".encode() if contradiction else b""
    return hashlib.sha256(mark + request.SerializeToString(deterministic=True)).digest()


def _hold_ttl_us(request: pb.AuthorizeRequest) -> int:
    return request.hold_ttl.ToMicroseconds() if request.HasField("hold_ttl") else 0
