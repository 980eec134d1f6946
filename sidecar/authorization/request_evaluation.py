"""Request evaluation: the result of all rules for one call, before the ledger checks limits."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

from mistral_spend.v1 import authorization_pb2 as pb

from sidecar.domain.clock import format_date, to_datetime
from sidecar.domain.decisions import Budget, CallWarning, Limit, Reason, ReservationLine
from sidecar.domain.money import NANO_USD_PER_USD
from sidecar.domain.prices import Tariff, Terms, UnpricedError
from sidecar.domain.retirement import MODEL_RETIRED, Retirement
from sidecar.domain.usage import Endpoint, tool_calls_of
from sidecar.domain.worst_case import CallSize, worst_case
from sidecar.policy.catalogue import Model, Role, price_message
from sidecar.policy.cel.variables import NO_PRICE, UNLIMITED_INT, Values
from sidecar.policy.evaluation import AppliedLimit, Evaluation
from sidecar.policy.policy_set import PolicySet
from sidecar.v1 import policy_input_pb2 as policy_pb

ReadBudgets = Callable[[Sequence[Limit], int], tuple[Budget, ...]]
"""Returns the budgets of limits at a time in microseconds."""

_ENDPOINTS = {
    number: Endpoint(name.removeprefix("ENDPOINT_"))
    for name, number in pb.Endpoint.items()
    if number
}
"""Endpoints by the contract's number; an unspecified one depends on the model."""

_OUTPUT_UNBOUNDED = Reason(
    "OUTPUT_UNBOUNDED",
    "nothing bounds the output: send estimate.max_output_tokens, or give the role a maximum",
    "",
    403,
)

_NO_MODEL = Model(policy_pb.Model(), ())


def endpoint_of(policy: PolicySet, request: pb.AuthorizeRequest) -> Endpoint:
    """Return a request's endpoint; if it sets none, its model's default."""
    return _ENDPOINTS.get(request.endpoint) or policy.catalogue.endpoint(request.model)


@dataclass(frozen=True, slots=True)
class _Entries:
    """The catalogue entries that a request names."""

    role: Role
    workspace: policy_pb.Workspace
    model: Model
    key: policy_pb.Key


@dataclass(frozen=True, slots=True)
class EvaluationResult:
    """The reasons to deny a call, if any, and what it would hold on every limit."""

    reasons: tuple[Reason, ...]
    shadow_reasons: tuple[Reason, ...] = ()
    lines: tuple[ReservationLine, ...] = ()
    model_id: str = ""
    size: CallSize | None = None
    tariff: Tariff | None = None
    cost_nano_usd: int = 0
    values: Values | None = None
    """The policy input; None where no rule was evaluated."""
    warnings: tuple[CallWarning, ...] = ()
    retirement: Retirement | None = None
    """The model's, if the data files have a day for it."""


def evaluate_request(
    policy: PolicySet, request: pb.AuthorizeRequest, now_us: int, read_budgets: ReadBudgets
) -> EvaluationResult:
    """Look up the names, compute the worst case, and evaluate every rule."""
    entries, unknown = _look_up(policy, request.principal, request.model)
    if entries is None:
        return EvaluationResult(unknown)
    model_id, retirement = entries.model.message.id, entries.model.retirement
    size = _size(endpoint_of(policy, request), request, entries.role)
    if size is None:
        return EvaluationResult((_OUTPUT_UNBOUNDED,), model_id=model_id, retirement=retirement)
    tariff, cost_nano_usd, unpriced = _price(policy, entries.model, size, now_us)
    values = _values(
        policy,
        request.principal,
        entries,
        _policy_request(request, size, cost_nano_usd),
        now_us,
    )
    evaluation = Evaluation(policy, values)
    limits, failed = evaluation.limits()
    if policy.reads_spend:
        budgets = read_budgets([applied.limit for applied in limits], now_us)
        values = replace(values, spend=_spend(budgets))
        evaluation = Evaluation(policy, values)
    verdict = evaluation.verdict()
    retired, warnings = _retired(retirement, now_us)
    return EvaluationResult(
        reasons=(*retired, *unpriced, *failed, *verdict.reasons),
        shadow_reasons=verdict.shadow_reasons,
        lines=_lines(evaluation, limits, size, cost_nano_usd),
        model_id=model_id,
        size=size,
        tariff=tariff,
        cost_nano_usd=cost_nano_usd,
        values=values,
        warnings=warnings,
        retirement=retirement,
    )


def contradicted(message: str) -> EvaluationResult:
    """Deny a call whose principal is not the authenticated caller; no rule is evaluated."""
    return EvaluationResult((Reason("PRINCIPAL_CONTRADICTED", message, "", 403),))


def limits_of(
    policy: PolicySet, principal: pb.Principal, model: str, now_us: int
) -> tuple[list[Limit], tuple[Reason, ...]]:
    """Return the limits on a principal's calls, and reasons for those that fail.

    There is no call yet: limits that read `request` see one of size 0, to the model's
    default endpoint. Without a model name, they see an empty model.
    """
    entries, unknown = _look_up(policy, principal, model)
    if entries is None:
        return [], unknown
    request = policy_pb.Request(model=model, endpoint=entries.model.endpoint, choices=1)
    evaluation = Evaluation(policy, _values(policy, principal, entries, request, now_us))
    limits, failed = evaluation.limits()
    return [applied.limit for applied in limits if not applied.rule.shadow], tuple(failed)


def _look_up(
    policy: PolicySet, principal: pb.Principal, model_name: str
) -> tuple[_Entries | None, tuple[Reason, ...]]:
    """Return the entries, or a reason for each unknown one. An empty model name is allowed."""
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


def _size(endpoint: Endpoint, request: pb.AuthorizeRequest, role: Role) -> CallSize | None:
    estimate = request.estimate
    return worst_case(
        endpoint,
        # A token is at least one byte, so bytes bound tokens from above.
        input_tokens=estimate.input_tokens or estimate.input_bytes,
        requested_output_tokens=estimate.max_output_tokens,
        choices=estimate.choices or 1,
        pages=estimate.pages,
        audio_seconds=estimate.audio_seconds,
        characters=estimate.characters,
        annotated_pages=estimate.annotated_pages,
        tool_calls=tool_calls_of(estimate.tool_calls),
        terms=Terms(estimate.service_tier, estimate.batch, estimate.region),
        role_max_tokens=role.max_tokens_per_request,
    )


def _price(
    policy: PolicySet, model: Model, size: CallSize, now_us: int
) -> tuple[Tariff | None, int, tuple[Reason, ...]]:
    """Return the tariff in force, the worst-case cost in nano-USD, and reasons to deny.

    A call without a price is denied if a limit counts cost, or a rule reads it; otherwise it
    costs 0.
    """
    tariff, missing = model.tariff(now_us), "no price in force"
    if tariff is not None:
        try:
            return tariff, size.cost_nano_usd(tariff), ()
        except UnpricedError as error:
            missing = str(error)
    reader = "a limit counts cost" if policy.counts_cost else "a rule reads the cost"
    message = f"model {model.message.id} has {missing}, and {reader}"
    reasons = (Reason("MODEL_NOT_PRICED", message, "", 403),) if policy.needs_price else ()
    return None, 0, reasons


def _retired(
    retirement: Retirement | None, now_us: int
) -> tuple[tuple[Reason, ...], tuple[CallWarning, ...]]:
    """Deny a model from its retirement on, and warn before it."""
    if retirement is None:
        return (), ()
    text = retirement.text(now_us)
    if now_us >= retirement.retires_us:
        return (Reason(MODEL_RETIRED, text, "", 403),), ()
    return (), (CallWarning("MODEL_RETIRES", text),)


def _policy_request(
    request: pb.AuthorizeRequest, size: CallSize, cost_nano_usd: int
) -> policy_pb.Request:
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
        characters=most.characters,
        annotated_pages=most.annotated_pages,
        tool_calls=dict(most.tool_calls),
        max_cost_usd=cost_nano_usd / NANO_USD_PER_USD,
    )


def _values(
    policy: PolicySet,
    principal: pb.Principal,
    entries: _Entries,
    request: policy_pb.Request,
    now_us: int,
) -> Values:
    tariff = entries.model.tariff(now_us) if policy.reads_price else None
    return Values(
        request=request,
        principal=principal,
        role=entries.role.message,
        workspace=entries.workspace,
        model=entries.model.message,
        key=entries.key,
        now=to_datetime(now_us),
        today=format_date(now_us, policy.zone) if policy.reads_today else "",
        spend={},
        price=NO_PRICE if tariff is None else price_message(tariff.price),
        lists=policy.catalogue.lists,
    )


def _lines(
    evaluation: Evaluation, limits: Sequence[AppliedLimit], size: CallSize, cost_nano_usd: int
) -> tuple[ReservationLine, ...]:
    amounts = size.amounts(cost_nano_usd)
    return tuple(
        ReservationLine(
            limit,
            amounts[limit.meter],
            rule.limit is None or rule.limit.charge_on_expiry,
            rule.shadow,
            partial(evaluation.reason, rule),
            rule.terms.alert_at_percent,
        )
        for rule, limit in limits
    )


def _spend(budgets: Sequence[Budget]) -> Mapping[str, policy_pb.Spend]:
    return {budget.rule: _spend_of(budget) for budget in budgets}


def _spend_of(budget: Budget) -> policy_pb.Spend:
    used = budget.spent + budget.held
    if budget.ceiling is None:
        return policy_pb.Spend(used=used, ceiling=UNLIMITED_INT)
    fraction = used / budget.ceiling if budget.ceiling else 1.0
    return policy_pb.Spend(used=used, ceiling=budget.ceiling, fraction=fraction)
