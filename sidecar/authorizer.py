"""The main job: may this call to Mistral go out, and what is left to spend?

    request ─▶ names become entries ─▶ worst case ─▶ limits and rules ─▶ ledger ─▶ decision

Nothing here knows of gRPC, of SQL, or of which evaluator of CEL runs.
"""

import hashlib
import logging
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

from sidecar.domain.clock import Clock, to_datetime
from sidecar.domain.decisions import (
    Budget,
    Call,
    Charge,
    Decision,
    Demand,
    Hold,
    Meter,
    Proposal,
    Reason,
    Settlement,
)
from sidecar.domain.prices import Tariff, Terms, UnpricedError
from sidecar.domain.sizing import Size, worst_case
from sidecar.domain.usage import Endpoint, Usage, UsageReport
from sidecar.ledger.protocol import Ledger
from sidecar.policy.catalogue import Model, Role
from sidecar.policy.evaluation import AppliedLimit, Evaluation
from sidecar.policy.policy_set import PolicySet
from sidecar.policy.variables import UNLIMITED_INT, Values
from sidecar.v1 import authorization_pb2 as pb
from sidecar.v1 import policy_input_pb2 as policy_pb

log = logging.getLogger(__name__)

_NO_MODEL = Model(policy_pb.Model(), ())


@dataclass(frozen=True, slots=True)
class _Entries:
    """What the names in a request stand for."""

    role: Role
    workspace: policy_pb.Workspace
    model: Model
    key: policy_pb.Key


@dataclass(frozen=True, slots=True)
class _Judgement:
    """What the policies make of a call, before the ledger has its say."""

    reasons: tuple[Reason, ...]
    shadow_reasons: tuple[Reason, ...] = ()
    demands: tuple[Demand, ...] = ()
    model_id: str = ""
    size: Size | None = None
    tariff: Tariff | None = None
    cost_nano_usd: int = 0


class Authorizer:
    """Decides calls on one policy set and one ledger."""

    def __init__(self, policy: PolicySet, ledger: Ledger, clock: Clock, hold_ttl_us: int) -> None:
        """Take the time from the clock; a hold lives `hold_ttl_us` unless its call says more."""
        self.policy = policy
        self._ledger = ledger
        self._clock = clock
        self._hold_ttl_us = hold_ttl_us

    async def authorize(self, request: pb.AuthorizeRequest) -> Decision:
        """Decide one call, and hold its worst case when it is allowed.

        The request has been validated. Raises what Ledger.decide raises.
        """
        policy, now_us = self.policy, self._clock()
        judgement = self._judge(policy, request, now_us)
        proposal = self._propose(policy, request, judgement, now_us)
        if request.dry_run:
            return self._ledger.preview(proposal)
        decision = await self._ledger.decide(proposal)
        for reason in decision.shadow_reasons:
            log.info("decision %s: shadow %s: %s", decision.decision_id, reason.rule, reason.code)
        return decision

    async def settle(
        self, hold_id: str, report: UsageReport, response_model: str, outcome: str
    ) -> Charge:
        """Charge what the call really used. What the report leaves out counts as held.

        Raises what Ledger.settle raises.
        """
        hold = self._ledger.hold(hold_id)
        used = report.completed(hold.most)
        cost_nano_usd = hold.cost_nano_usd
        tariff = self._tariff_that_served(hold, response_model)
        if tariff is not None and report != UsageReport():
            cost_nano_usd = tariff.cost_nano_usd(used, _terms_that_served(hold, report, tariff))
        settlement = Settlement(used, cost_nano_usd, outcome, response_model, self._clock())
        return await self._ledger.settle(hold_id, settlement)

    async def release(self, hold_id: str, reason: str) -> Charge:
        """Give a hold back: its call was never sent. Raises what Ledger.release raises."""
        return await self._ledger.release(hold_id, reason, self._clock())

    def budgets(
        self, principal: pb.Principal, model: str
    ) -> tuple[tuple[Budget, ...], tuple[Reason, ...]]:
        """Return what is left for a principal, and what cannot be told and why."""
        policy, now_us = self.policy, self._clock()
        entries, unknown = _look_up(policy, principal, model)
        if entries is None:
            return (), unknown
        request = policy_pb.Request(model=model, endpoint=Endpoint.CHAT, choices=1)
        evaluation = Evaluation(policy, _values(principal, entries, request, now_us))
        limits, failed = evaluation.limits()
        enforced = [applied.limit for applied in limits if not applied.rule.shadow]
        return self._ledger.budgets(enforced, now_us), tuple(failed)

    def _judge(self, policy: PolicySet, request: pb.AuthorizeRequest, now_us: int) -> _Judgement:
        entries, unknown = _look_up(policy, request.principal, request.model)
        if entries is None:
            return _Judgement(unknown)
        model_id = entries.model.message.id
        size = _size(request, entries.role)
        if size is None:
            return _Judgement((_OUTPUT_UNBOUNDED,), model_id=model_id)
        tariff, cost_nano_usd, unpriced = _price(policy, entries.model, size, now_us)
        values = _values(request.principal, entries, _policy_request(request, size), now_us)
        evaluation = Evaluation(policy, values)
        limits, failed = evaluation.limits()
        if policy.reads_spend:
            spend = self._spend(limits, now_us)
            evaluation = Evaluation(policy, replace(values, spend=spend))
        verdict = evaluation.verdict()
        return _Judgement(
            reasons=(*unpriced, *failed, *verdict.reasons),
            shadow_reasons=verdict.shadow_reasons,
            demands=_demands(evaluation, limits, size, cost_nano_usd),
            model_id=model_id,
            size=size,
            tariff=tariff,
            cost_nano_usd=cost_nano_usd,
        )

    def _propose(
        self, policy: PolicySet, request: pb.AuthorizeRequest, judgement: _Judgement, now_us: int
    ) -> Proposal:
        principal, size = request.principal, judgement.size
        call = Call(
            request_id=request.request_id,
            fingerprint=hashlib.sha256(request.SerializeToString(deterministic=True)).digest(),
            principal_id=principal.id,
            role=principal.role,
            workspace=principal.workspace,
            key_id=principal.key_id,
            model_requested=request.model,
            model_id=judgement.model_id,
            endpoint=_ENDPOINTS[request.endpoint],
            max_output_tokens=0 if size is None else size.max_output_tokens,
            most=Usage() if size is None else size.most,
            terms=Terms() if size is None else size.terms,
            cost_nano_usd=judgement.cost_nano_usd,
            tariff=judgement.tariff,
            hold_ttl_us=_hold_ttl_us(request) or self._hold_ttl_us,
        )
        # Ids that begin with the time keep the ledger's indexes growing at their end.
        unique = f"{now_us // 1000:012x}{os.urandom(10).hex()}"
        return Proposal(
            call=call,
            decision_id=f"dec_{unique}",
            hold_id=f"hold_{unique}",
            at_us=now_us,
            policy_digest=policy.digest,
            policy_generation=policy.generation,
            reasons=judgement.reasons,
            shadow_reasons=judgement.shadow_reasons,
            demands=judgement.demands,
        )

    def _spend(self, limits: Sequence[AppliedLimit], now_us: int) -> Mapping[str, policy_pb.Spend]:
        budgets = self._ledger.budgets([applied.limit for applied in limits], now_us)
        return {budget.rule: _spend_of(budget) for budget in budgets}

    def _tariff_that_served(self, hold: Hold, response_model: str) -> Tariff | None:
        """Return the hold's tariff, unless the response names another model we know.

        An alias may have moved to a model with another price since it was held.
        """
        model = self.policy.catalogue.models.get(response_model)
        if hold.tariff is None or model is None or model.message.id == hold.model_id:
            return hold.tariff
        return model.tariff(hold.opened_at_us) or hold.tariff


_OUTPUT_UNBOUNDED = Reason(
    "OUTPUT_UNBOUNDED",
    "nothing bounds the output: send estimate.max_output_tokens, or give the role a maximum",
    "",
    403,
)


_ENDPOINTS = {
    number: Endpoint.CHAT if number == 0 else Endpoint(name.removeprefix("ENDPOINT_"))
    for name, number in pb.Endpoint.items()
}


def _hold_ttl_us(request: pb.AuthorizeRequest) -> int:
    return request.hold_ttl.ToMicroseconds() if request.HasField("hold_ttl") else 0


def _look_up(
    policy: PolicySet, principal: pb.Principal, model_name: str
) -> tuple[_Entries | None, tuple[Reason, ...]]:
    """Find every entry, or say which are unknown. No model name is no model."""
    catalogue = policy.catalogue
    role = catalogue.roles.get(principal.role)
    workspace = catalogue.workspaces.get(principal.workspace)
    model = catalogue.models.get(model_name) if model_name else _NO_MODEL
    unknown = tuple(
        Reason(f"{kind.upper()}_UNKNOWN", f"no {kind} named {name} in the policies", "", 403)
        for kind, name, entry in (
            ("role", principal.role, role),
            ("workspace", principal.workspace, workspace),
            ("model", model_name, model),
        )
        if entry is None
    )
    if role is None or workspace is None or model is None:
        return None, unknown
    return _Entries(role, workspace, model, catalogue.key(principal.key_id)), ()


def _size(request: pb.AuthorizeRequest, role: Role) -> Size | None:
    estimate = request.estimate
    return worst_case(
        _ENDPOINTS[request.endpoint],
        # A token is at least one byte, so bytes bound tokens from above.
        input_tokens=estimate.input_tokens or estimate.input_bytes,
        asked_output_tokens=estimate.max_output_tokens,
        choices=estimate.choices or 1,
        pages=estimate.pages,
        audio_seconds=estimate.audio_seconds,
        terms=Terms(estimate.service_tier, estimate.batch, estimate.region),
        role_maximum=role.max_tokens_per_request,
    )


def _price(
    policy: PolicySet, model: Model, size: Size, now_us: int
) -> tuple[Tariff | None, int, tuple[Reason, ...]]:
    """Return the tariff in force and the most the call can cost under it.

    A call without a price is denied where a limit counts cost, and else costs 0.
    """
    tariff, missing = model.tariff(now_us), "no price in force"
    if tariff is not None:
        try:
            return tariff, size.cost_nano_usd(tariff), ()
        except UnpricedError as error:
            missing = str(error)
    message = f"model {model.message.id} has {missing}, and a limit counts cost"
    reasons = (Reason("MODEL_NOT_PRICED", message, "", 403),) if policy.counts_cost else ()
    return None, 0, reasons


def _policy_request(request: pb.AuthorizeRequest, size: Size) -> policy_pb.Request:
    most, terms = size.most, size.terms
    return policy_pb.Request(
        model=request.model,
        endpoint=size.endpoint,
        input_tokens=most.input_tokens,
        max_output_tokens=size.max_output_tokens,
        choices=size.choices,
        tokens=most.tokens,
        pages=most.pages,
        audio_seconds=most.audio_seconds,
        service_tier=terms.service_tier,
        batch=terms.batch,
        region=terms.region,
    )


def _values(
    principal: pb.Principal, entries: _Entries, request: policy_pb.Request, now_us: int
) -> Values:
    return Values(
        request=request,
        principal=principal,
        role=entries.role.message,
        workspace=entries.workspace,
        model=entries.model.message,
        key=entries.key,
        now=to_datetime(now_us),
        spend={},
    )


def _demands(
    evaluation: Evaluation, limits: Sequence[AppliedLimit], size: Size, cost_nano_usd: int
) -> tuple[Demand, ...]:
    amounts = {Meter.REQUESTS: 1, Meter.TOKENS: size.most.tokens, Meter.COST: cost_nano_usd}
    return tuple(
        Demand(
            limit=limit,
            amount=amounts[limit.meter],
            charge_on_expiry=rule.limit is None or rule.limit.charge_on_expiry,
            shadow=rule.shadow,
            refusal=partial(evaluation.reason, rule),
        )
        for rule, limit in limits
    )


def _spend_of(budget: Budget) -> policy_pb.Spend:
    used = budget.spent + budget.held
    if budget.ceiling is None:
        return policy_pb.Spend(used=used, ceiling=UNLIMITED_INT)
    fraction = used / budget.ceiling if budget.ceiling else 1.0
    return policy_pb.Spend(used=used, ceiling=budget.ceiling, fraction=fraction)


def _terms_that_served(hold: Hold, report: UsageReport, tariff: Tariff) -> Terms:
    """Return the hold's terms, with the tier that the response names if it has a price."""
    if not report.service_tier:
        return hold.terms
    terms = replace(hold.terms, service_tier=report.service_tier)
    try:
        tariff.multipliers.of(terms)
    except UnpricedError:
        return hold.terms
    return terms
