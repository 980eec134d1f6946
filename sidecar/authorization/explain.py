"""Why a call is allowed or denied, and the smallest change that would allow it."""

import asyncio
from dataclasses import dataclass

from mistral_spend.v1 import authorization_pb2 as pb

from sidecar.authorization.alternatives import Fitting, fitting
from sidecar.authorization.authorizer import Authorizer
from sidecar.authorization.request_evaluation import EvaluationResult, endpoint_of
from sidecar.authorization.trials import Trials, with_model, with_output, with_role
from sidecar.domain.amounts import format_amount
from sidecar.domain.clock import SECOND_US
from sidecar.domain.counted import counted
from sidecar.domain.decisions import Budget, Decision, Effect, Meter, ReservationLine
from sidecar.domain.usage import MAX_COUNT
from sidecar.domain.worst_case import CallSize
from sidecar.policy.cel.variables import Values
from sidecar.policy.policy_set import PolicySet
from sidecar.policy.rules import Rule
from sidecar.policy.trace import PartValue, RuleTraces

MAX_ALTERNATIVES = 40
"""Models, and roles, tried for a denied call: bounds the time of an explanation."""


@dataclass(frozen=True, slots=True)
class Explanation:
    """A dry-run decision, the values behind it, and changes that would allow the call."""

    decision: Decision
    result: EvaluationResult
    rules: list[tuple[Rule, list[PartValue]]]
    suggestions: list[str]
    fitting: Fitting

    @property
    def limits(self) -> list[tuple[ReservationLine, Budget]]:
        """What the call would hold on each limit, and the limit's budget."""
        budgets = {budget.rule: budget for budget in self.decision.budgets}
        return [
            (line, budgets[line.limit.rule])
            for line in self.result.lines
            if line.limit.rule in budgets
        ]

    @property
    def worst_case(self) -> str:
        """The call's worst case as text: tokens and other counts, and the cost."""
        size, tariff = self.result.size, self.result.tariff
        if size is None:
            return ""
        most = size.most
        output = f"{size.max_output_tokens:,} output"
        if size.choices > 1:
            output = f"{size.choices} x {output}"
        used = [f"{most.input_tokens:,} input + {output} = {counted(most.tokens, 'token')}"]
        used += [counted(most.pages, "page")] if most.pages else []
        used += [counted(most.annotated_pages, "annotated page")] if most.annotated_pages else []
        used += [f"{most.audio_seconds:,} s of audio"] if most.audio_seconds else []
        used += [counted(most.characters, "character")] if most.characters else []
        used += [f"{counted(count, 'call')} of {tool}" for tool, count in most.tool_calls]
        cost = format_amount(Meter.COST, self.result.cost_nano_usd)
        price = (
            f"at most {cost} at the price {tariff.price.price_id}" if tariff else "without a price"
        )
        return "; ".join([*used, price])


class Explainer:
    """Explains calls on one authorizer, holding and recording nothing.

    An explanation takes as long as many decisions, so one runs at a time, and it gives
    way to decisions. It uses one policy set throughout, even if that is replaced meanwhile.
    """

    def __init__(self, authorizer: Authorizer) -> None:
        """Create an explainer of this authorizer's decisions."""
        self._authorizer = authorizer
        self._one_at_a_time = asyncio.Lock()
        self._rules: tuple[PolicySet, RuleTraces] | None = None

    async def explain(self, request: pb.AuthorizeRequest) -> Explanation:
        """Explain one validated request."""
        async with self._one_at_a_time:
            trials = _Suggestions(self._authorizer, request)
            result, decision = await trials.decide()
            values = result.values
            policy = trials.authorizer.policy
            rules = [] if values is None else await asyncio.to_thread(self._traced, policy, values)
            denied = decision.effect is Effect.DENY
            suggestions = await trials.find(decision, result) if denied else []
            smaller = await fitting(trials.authorizer, request, decision)
            return Explanation(decision, result, rules, suggestions, smaller)

    def _traced(self, policy: PolicySet, values: Values) -> list[tuple[Rule, list[PartValue]]]:
        """Return each rule's parts with their values; the parts are cached by policy set."""
        if self._rules is None or self._rules[0] is not policy:
            self._rules = policy, RuleTraces(policy)
        return self._rules[1].values(values)


class _Suggestions(Trials):
    """Changes, one at a time, that would allow a call."""

    async def find(self, decision: Decision, result: EvaluationResult) -> list[str]:
        """Try one change at a time: less output, another model, another role, waiting."""
        suggestions = [
            await self._less_output(result.size),
            await self._other_models(),
            await self._other_roles(),
            await self._waiting(decision.retry_after_us),
        ]
        return [suggestion for suggestion in suggestions if suggestion]

    async def _waiting(self, retry_after_us: int) -> str:
        """Try the call after the decision's `retry_after`, if it has one."""
        seconds = -(-retry_after_us // SECOND_US)
        if not seconds or not await self.allows(lambda _: None, seconds * SECOND_US):
            return ""
        return f"wait {seconds} s and ask with a new request_id"

    async def _less_output(self, size: CallSize | None) -> str:
        """Find the most output tokens that would be allowed, by bisection.

        The upper end is what the app requested, else the role's maximum, else MAX_COUNT.
        """
        requested = MAX_COUNT + 1 if size is None else size.max_output_tokens
        if requested <= 1 or not await self.allows(with_output(1)):
            return ""
        passes, fails = 1, requested
        while fails - passes > 1:
            middle = (passes + fails) // 2
            if await self.allows(with_output(middle)):
                passes = middle
            else:
                fails = middle
        return f"ask for at most {passes} output tokens (max_output_tokens)"

    async def _other_models(self) -> str:
        catalogue = self.authorizer.policy.catalogue
        names = sorted({model.message.id for model in catalogue.models.values()})[:MAX_ALTERNATIVES]
        # Without an endpoint, a model for something else would change what is called.
        endpoint = endpoint_of(self.authorizer.policy, self.request)
        found = [name for name in names if await self.allows(with_model(name, endpoint))]
        return f"call {_either(found)} instead" if found else ""

    async def _other_roles(self) -> str:
        names = sorted(self.authorizer.policy.catalogue.roles)[:MAX_ALTERNATIVES]
        found = [name for name in names if await self.allows(with_role(name))]
        return f"have the role {_either(found)}" if found else ""


def _either(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} or {names[-1]}"
