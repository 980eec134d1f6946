"""Alternatives to a call that limits alone deny: less output, or other models.

F1 fits now: the call with the output or with a model that is named would be allowed at this
moment, and no larger output would be. Nothing is said where anything but limits denied.
"""

from collections.abc import Callable
from dataclasses import dataclass
from heapq import nsmallest

from mistral_spend.v1 import authorization_pb2 as pb

from sidecar.authorization.authorizer import Authorizer
from sidecar.authorization.request_evaluation import EvaluationResult
from sidecar.authorization.trials import Trials, with_model, with_output
from sidecar.domain.amounts import fits
from sidecar.domain.decisions import LARGER_THAN_BUDGET, Budget, Decision, Effect, ReservationLine
from sidecar.domain.prices import Tariff, UnpricedError
from sidecar.domain.usage import WITH_OUTPUT
from sidecar.domain.worst_case import CallSize
from sidecar.ledger.protocol import LedgerUnavailableError
from sidecar.policy.cel.variables import OF_THE_MODEL
from sidecar.policy.policy_set import PolicySet

MAX_MODELS = 5
MAX_MODELS_TRIED = 50
"""Together they bound the response, and the time of a denial."""

Room = tuple[ReservationLine, Budget]
"""What the call takes of a limit that is enforced, and what that has left."""


@dataclass(frozen=True, slots=True)
class Fitting:
    """What would be allowed now instead of a denied call; unset where nothing would.

    `models` are ids, the one with the lowest worst-case cost first.
    """

    max_output_tokens: int = 0
    models: tuple[str, ...] = ()


NOTHING = Fitting()


async def fitting(
    authorizer: Authorizer, request: pb.AuthorizeRequest, decision: Decision
) -> Fitting:
    """Return what would fit now, for a validated request and the decision on it.

    NOTHING unless limits alone denied it, and rules would still allow it; also where the
    ledger cannot be read, since the denial is on disk and has to be answered.
    """
    if decision.effect is Effect.ALLOW:
        return NOTHING
    trials = Trials(authorizer, request)
    limits = {rule.id for rule in trials.authorizer.policy.limits}
    if not all(
        reason.rule in limits or reason.code == LARGER_THAN_BUDGET for reason in decision.reasons
    ):
        return NOTHING
    try:
        return await _of_trials(trials)
    except LedgerUnavailableError:
        return NOTHING


async def _of_trials(trials: Trials) -> Fitting:
    """Return what would fit now, by dry runs. Raises LedgerUnavailableError."""
    result, now = await trials.decide()
    if result.reasons or result.size is None:
        return NOTHING
    enforced = [line for line in result.lines if not line.shadow]
    rooms = list(zip(enforced, now.budgets, strict=True))
    return Fitting(
        await _most_output(trials, result, result.size, rooms),
        await _models(trials, result, result.size, rooms),
    )


async def _most_output(
    trials: Trials, result: EvaluationResult, size: CallSize, rooms: list[Room]
) -> int:
    """Return the most output tokens that fit every limit and that rules allow, else 0.

    The ceilings are those of the request as it is; its rules see the result once.
    """
    if size.endpoint not in WITH_OUTPUT:
        return 0

    def fit(tokens: int) -> bool:
        return _fit(rooms, size.with_output(tokens), result.tariff)

    most = _largest(fit, size.max_output_tokens)
    return most if most and await trials.allows(with_output(most)) else 0


def _largest(passes: Callable[[int], bool], upper: int) -> int:
    """Return the largest number from 1 to `upper` that passes, by bisection; 0 if none does."""
    lower = 0
    while lower < upper:
        middle = (lower + upper + 1) // 2
        if passes(middle):
            lower = middle
        else:
            upper = middle - 1
    return lower


async def _models(
    trials: Trials, result: EvaluationResult, size: CallSize, rooms: list[Room]
) -> tuple[str, ...]:
    """Return the cheapest other models that are allowed.

    A model without a price for such a call has no place in this order, and is left out.
    """
    policy, at_us = trials.authorizer.policy, trials.authorizer.now_us()
    fixed = _fixed(policy, rooms)
    candidates: set[tuple[int, str]] = set()
    for model in policy.catalogue.models.values():
        tariff = model.tariff(at_us)
        if tariff is None or model.message.id == result.model_id:
            continue
        try:
            if _fit(fixed, size, tariff):
                candidates.add((size.cost_nano_usd(tariff), model.message.id))
        except UnpricedError:
            continue
    found: list[str] = []
    for _, name in nsmallest(MAX_MODELS_TRIED, candidates):
        if await trials.allows(with_model(name, size.endpoint)):
            found.append(name)
        if len(found) == MAX_MODELS:
            break
    return tuple(found)


def _fixed(policy: PolicySet, rooms: list[Room]) -> list[Room]:
    """Return the limits that apply to every model alike: without room there, none is tried."""
    alike = {
        rule.id
        for rule in policy.limits
        if OF_THE_MODEL.isdisjoint(rule.body.reads | rule.terms.per.reads)
    }
    return [room for room in rooms if room[0].limit.rule in alike]


def _fit(rooms: list[Room], size: CallSize, tariff: Tariff | None) -> bool:
    """Return whether every limit has room for this size. Raises UnpricedError."""
    amounts = size.amounts(size.cost_nano_usd(tariff))
    return all(
        fits(budget.ceiling, budget.spent + budget.held, amounts[budget.meter])
        for _, budget in rooms
    )
