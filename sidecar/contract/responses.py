"""Responses: decisions, charges and budgets as the contract's messages."""

from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING

from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp
from mistral_spend.v1 import authorization_pb2 as pb

from sidecar.domain.amounts import fits, format_reservation
from sidecar.domain.clock import SECOND_US
from sidecar.domain.decisions import (
    Budget,
    Charge,
    Decision,
    Effect,
    HoldState,
    Meter,
    Reason,
)

if TYPE_CHECKING:
    from sidecar.authorization.alternatives import Fitting
    from sidecar.authorization.explain import Explanation  # importing it loads the evaluators

_METERS = {
    Meter.REQUESTS: pb.METER_REQUESTS,
    Meter.TOKENS: pb.METER_TOKENS,
    Meter.COST: pb.METER_COST,
}

_HOLD_STATES = {
    None: pb.HOLD_STATE_UNSPECIFIED,
    HoldState.OPEN: pb.HOLD_STATE_OPEN,
    HoldState.SETTLED: pb.HOLD_STATE_SETTLED,
    HoldState.RELEASED: pb.HOLD_STATE_RELEASED,
    HoldState.EXPIRED: pb.HOLD_STATE_EXPIRED,
}


def authorize_response(
    decision: Decision, asserted: Sequence[str] = (), fitting: "Fitting | None" = None
) -> pb.AuthorizeResponse:
    """Write a decision; `asserted` are the principal's fields that nothing proves.

    `fitting` is what would be allowed instead, if it is known.
    """
    response = pb.AuthorizeResponse(
        request_id=decision.request_id,
        effect=pb.EFFECT_ALLOW if decision.effect is Effect.ALLOW else pb.EFFECT_DENY,
        decision_id=decision.decision_id,
        hold_id=decision.hold_id,
        reasons=[reason_message(reason) for reason in decision.reasons],
        budgets=[budget_message(budget) for budget in decision.budgets],
        resolved_model=decision.model_id,
        max_output_tokens=decision.max_output_tokens,
        held_cost_nano_usd=decision.held_cost_nano_usd,
        policy_digest=decision.policy_digest,
        policy_generation=decision.policy_generation,
        asserted=asserted,
        replayed=decision.replayed,
        hold_state=_HOLD_STATES[decision.hold_state],
        warnings=[pb.Warning(code=code, message=text) for code, text in decision.warnings],
    )
    if decision.hold_id:
        response.hold_expires_at.CopyFrom(timestamp(decision.hold_expires_at_us))
    if decision.retry_after_us:
        response.retry_after.CopyFrom(_duration(decision.retry_after_us))
    if fitting is not None:
        response.fitting_max_output_tokens = fitting.max_output_tokens
        response.fitting_models.extend(fitting.models)
    return response


def explain_response(
    explanation: "Explanation", asserted: Sequence[str] = ()
) -> pb.ExplainResponse:
    """Write an explanation."""
    return pb.ExplainResponse(
        decision=authorize_response(explanation.decision, asserted, explanation.fitting),
        rules=[
            pb.ExplainedRule(
                rule=rule.id,
                effect=rule.effect.value,
                shadow=rule.shadow,
                value=parts[0].shown,
                parts=[
                    pb.ExplainedPart(
                        text=traced.part.text,
                        line=traced.part.line,
                        column=traced.part.column,
                        depth=traced.part.depth,
                        value=traced.shown,
                    )
                    for traced in parts
                ],
            )
            for rule, parts in explanation.rules
        ],
        suggestions=explanation.suggestions,
        limits=[
            pb.ExplainedLimit(
                rule=demand.limit.rule,
                scope=demand.limit.scope,
                shadow=demand.shadow,
                demand=demand.amount,
                fits=fits(budget.ceiling, budget.spent + budget.held, demand.amount),
                arithmetic=format_reservation(demand, budget),
            )
            for demand, budget in explanation.limits
        ],
        worst_case=explanation.worst_case,
    )


def settle_response(charge: Charge) -> pb.SettleResponse:
    """Write the charge of a settled hold."""
    return pb.SettleResponse(
        charged_cost_nano_usd=charge.cost_nano_usd,
        charged_tokens=charge.tokens,
        overrun=charge.overrun,
        unrecognized_usage=charge.unrecognized_usage,
        budgets=[budget_message(budget) for budget in charge.budgets],
    )


def release_response(charge: Charge) -> pb.ReleaseResponse:
    """Write the charge of a released hold: nothing, unless it was settled before."""
    return pb.ReleaseResponse(
        charged_cost_nano_usd=charge.cost_nano_usd,
        charged_tokens=charge.tokens,
        budgets=[budget_message(budget) for budget in charge.budgets],
    )


def reason_message(reason: Reason) -> pb.Reason:
    """Write one reason."""
    return pb.Reason(
        code=reason.code, message=reason.message, rule=reason.rule, http_status=reason.http_status
    )


def budget_message(budget: Budget) -> pb.Budget:
    """Write one budget."""
    message = pb.Budget(spent=budget.spent, held=budget.held, remaining=budget.remaining or 0)
    message.MergeFrom(
        _fixed_part(
            budget.rule,
            budget.meter,
            budget.scope,
            budget.window_start_us,
            budget.window_end_us,
            budget.ceiling,
        )
    )
    if budget.as_of_us is not None:
        message.as_of.CopyFrom(timestamp(budget.as_of_us))
    return message


@lru_cache(maxsize=1024)
def _fixed_part(
    rule: str,
    meter: Meter,
    scope: str,
    start_us: int | None,
    end_us: int | None,
    ceiling: int | None,
) -> pb.Budget:
    """Write what stays the same in every response of a window, except that of a sliding minute."""
    return pb.Budget(
        rule=rule,
        meter=_METERS[meter],
        scope=scope,
        window_start=None if start_us is None else timestamp(start_us),
        window_end=None if end_us is None else timestamp(end_us),
        ceiling=ceiling or 0,
        unlimited=ceiling is None,
    )


@lru_cache(maxsize=256)  # the same window bounds are in every response
def timestamp(at_us: int) -> Timestamp:
    """Write a time in microseconds."""
    seconds, microseconds = divmod(at_us, SECOND_US)
    return Timestamp(seconds=seconds, nanos=microseconds * 1000)


def _duration(length_us: int) -> Duration:
    seconds, microseconds = divmod(length_us, SECOND_US)
    return Duration(seconds=seconds, nanos=microseconds * 1000)
