"""Outcomes: what each rule of a policy set says about a case, and the result of all of them.

A rule is evaluated as a sidecar does it, in a set without the other rules.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

from mistral_spend.v1 import authorization_pb2 as pb

from sidecar.authorization.request_evaluation import EvaluationResult, evaluate_request
from sidecar.domain.decisions import Limit, Meter
from sidecar.domain.usage import MAX_COUNT, WITH_OUTPUT, Endpoint
from sidecar.policy.cel.variables import SPEND
from sidecar.policy.policy_set import PolicySet
from sidecar.policy.rules import Rule, RuleEffect
from sidecar.policy_tools.diff.cases import Case, Spent, budgets_of_case, labels_of
from sidecar.policy_tools.diff.dependencies import (
    CALL,
    KEY,
    NO_KEY,
    ROLE,
    WORKSPACE,
    Dependencies,
    Input,
)

MIN_TOKENS, MAX_TOKENS = 2, MAX_COUNT
"""The bounds of the search for the largest request, in tokens."""

ANY_PRINCIPAL = "(any)"
"""The id of the principal of each case."""

NO_RULE_ALLOWS, MODEL_NOT_PRICED = "NO_RULE_ALLOWS", "MODEL_NOT_PRICED"


class LimitOf(NamedTuple):
    """A limit in force for a case, and the expression that it counts by."""

    limit: Limit
    per: str


@dataclass(frozen=True, slots=True)
class Outcome:
    """The result of one rule, or of a lookup in the data files."""

    denied: tuple[str, ...] = ()
    """Its reasons to deny a call of the smallest size."""
    most_tokens: int | None = None
    """The largest call that it lets pass; None is any."""
    allows: bool = False
    limit: LimitOf | None = None
    model: str = ""
    """The id of the model that a name stands for, if it is another one."""


NOTHING = Outcome()

DENIED_IN_BOTH = Outcome(("(a rule that is the same in both)",))
"""In place of all rules that are the same in both sets, where one of them denies a case."""

ALLOWS = Outcome(allows=True)


@dataclass(frozen=True, slots=True)
class Part:
    """One of the functions that decide a case together: a rule, or a lookup in the data files."""

    inputs: frozenset[Input]
    outcome: Callable[[Case], Outcome]
    is_lookup: bool = False
    is_allowance: bool = False


@dataclass(frozen=True, slots=True)
class Total:
    """The result of all outcomes of a case: the reasons to deny it, or its bounds."""

    denied: tuple[str, ...]
    most_tokens: int | None
    limits: tuple[LimitOf, ...]
    model: str


def parts_of(policy: PolicySet, reading: Dependencies, now_us: int) -> dict[str, Part]:
    """Return the parts that decide a case: a lookup for each kind of entry, prices and rules."""
    evaluate = partial(_Evaluator, policy, now_us)
    lookups = evaluate([]).lookup
    found = {
        kind: Part(frozenset({input_}), partial(lookups, f"{kind.upper()}_UNKNOWN"), is_lookup=True)
        for kind, input_ in (("role", ROLE), ("workspace", WORKSPACE), ("model", CALL))
    }
    cost = [r for r in policy.limits if r.terms.meter is Meter.COST and not r.shadow][:1]
    found["price"] = Part(frozenset({CALL}), evaluate(cost).price if cost else lambda _: NOTHING)
    for rule in policy.rules:
        if not rule.shadow:
            inputs = reading.inputs_of(rule.id)
            spends = {name for kind, name in inputs if kind == SPEND}
            limits = [limit for limit in policy.limits if limit.id in spends]
            found[part_name(rule.id)] = Part(
                inputs,
                evaluate([rule, *limits]).rule,
                is_allowance=rule.effect is RuleEffect.ALLOW,
            )
    return found


def part_name(rule_id: str) -> str:
    """Return the name of a rule's part, which differs from the names of all lookups."""
    return f"{rule_id}.cel"


def total(outcomes: Mapping[str, Outcome]) -> Total:
    """Return the result of all outcomes of a case, given by the names of their parts.

    Default deny: without a rule that allows it, a call is denied.
    """
    unknown = [r for kind in ("role", "workspace", "model") for r in outcomes[kind].denied]
    denied = unknown or [reason for each in outcomes.values() for reason in each.denied]
    allowing = [each.most_tokens for each in outcomes.values() if each.allows]
    if not unknown and not allowing:
        denied.append(NO_RULE_ALLOWS)
    most = _smallest(each.most_tokens for each in outcomes.values() if not each.allows)
    if allowing and None not in allowing:
        most = _smallest([most, max(filter(None, allowing))])
    limits = tuple(each.limit for each in outcomes.values() if each.limit is not None)
    model = outcomes["model"].model
    if denied:
        return Total(tuple(sorted(denied)), None, (), model)
    return Total((), most, limits, model)


def _smallest(bounds: Iterable[int | None]) -> int | None:
    return min((bound for bound in bounds if bound is not None), default=None)


class _Evaluator:
    """Evaluates one rule, with the limits whose spend it reads."""

    def __init__(self, policy: PolicySet, now_us: int, rules: Sequence[Rule]) -> None:
        self._policy = policy.only(*dict.fromkeys(rules))
        self._now_us = now_us
        self._rule = rules[0] if rules else None
        self._reads_size = any("request" in _reads(each) for each in rules)
        catalogue = policy.catalogue
        # Inputs that the rule does not read are those of any entry, so that it is evaluated.
        self._default: Case = {
            ROLE: next(iter(catalogue.roles), ""),
            WORKSPACE: next(iter(catalogue.workspaces), ""),
            KEY: NO_KEY,
            CALL: (next(iter(catalogue.models), ""), Endpoint.CHAT),
        }

    def lookup(self, code: str, case: Case) -> Outcome:
        """Return whether an entry is unknown, and the id of the model."""
        result = self._try(case, MIN_TOKENS)
        name, _ = case.get(CALL, ("", None))
        stands_for = result.model_id if result.model_id != name else ""
        return Outcome(_codes(result, code), model=stands_for)

    def price(self, case: Case) -> Outcome:
        """Return whether a call has no price, and the largest that has one."""
        self._reads_size = True  # a larger call costs more
        return self._bounded(case, lambda result: _codes(result, MODEL_NOT_PRICED))

    def rule(self, case: Case) -> Outcome:
        """Return the outcome of the rule."""
        rule = self._rule
        assert rule is not None, "lookups have no rule"
        if rule.effect is RuleEffect.ALLOW:
            allowed = self._bounded(case, lambda result: _codes(result, NO_RULE_ALLOWS))
            known = self._try(case, MIN_TOKENS).model_id
            is_allowed = bool(known) and not allowed.denied
            return Outcome(most_tokens=allowed.most_tokens, allows=True) if is_allowed else NOTHING
        found = self._bounded(case, lambda result: _reasons_of(result, rule))
        if rule.effect is RuleEffect.DENY or found.denied:
            return found
        lines = self._try(case, MIN_TOKENS).lines
        limit = next((line.limit for line in lines if line.limit.rule == rule.id), None)
        held = None if limit is None else LimitOf(limit, rule.terms.per.source)
        return Outcome(most_tokens=found.most_tokens, limit=held)

    def _bounded(
        self, case: Case, reasons: Callable[[EvaluationResult], tuple[str, ...]]
    ) -> Outcome:
        """Find the reasons against the smallest call, or the largest without any."""
        denied = reasons(self._try(case, MIN_TOKENS))
        if denied or not self._reads_size:
            return Outcome(denied)

        def passes(tokens: int) -> bool:
            return not reasons(self._try(case, tokens))

        return Outcome(most_tokens=self._most_tokens(case, passes))

    def _most_tokens(self, case: Case, passes: Callable[[int], bool]) -> int | None:
        """Find how many tokens a request may have, assuming that with fewer it passes, too."""
        if passes(MAX_TOKENS):
            return None
        most, too_many = MIN_TOKENS, MAX_TOKENS
        role = self._policy.catalogue.roles.get(case.get(ROLE, ""))
        likely = (role and role.max_tokens_per_request) or MAX_TOKENS
        for tokens in (likely, likely + 1, likely - 1):  # so halving has nothing left to do
            if most < tokens < too_many:
                most, too_many = (tokens, too_many) if passes(tokens) else (most, tokens)
        while too_many - most > 1:
            middle = (most + too_many) // 2
            if passes(middle):
                most = middle
            else:
                too_many = middle
        return most

    def _try(self, case: Case, tokens: int) -> EvaluationResult:
        """Evaluate a call of so many tokens, of which one is input if it has output."""
        case = {**self._default, **case}
        model, endpoint = case[CALL]
        has_output = endpoint in WITH_OUTPUT
        principal = pb.Principal(
            id=ANY_PRINCIPAL,
            role=case[ROLE],
            workspace=case[WORKSPACE],
            labels=dict(labels_of(case)),
            key_id=case[KEY],
        )
        request = pb.AuthorizeRequest(
            principal=principal,
            model=model,
            endpoint=f"ENDPOINT_{endpoint}",
            estimate=pb.Estimate(
                input_tokens=1 if has_output else tokens,
                max_output_tokens=tokens - 1 if has_output else 0,
                pages=int(endpoint is Endpoint.OCR),
                audio_seconds=int(endpoint in (Endpoint.TRANSCRIPTION, Endpoint.REALTIME)),
                characters=int(endpoint is Endpoint.SPEECH),
            ),
        )
        spent = [value for value in case.values() if isinstance(value, Spent)]
        return evaluate_request(
            self._policy, request, self._now_us, partial(budgets_of_case, spent)
        )


def _codes(result: EvaluationResult, code: str) -> tuple[str, ...]:
    return tuple(reason.code for reason in result.reasons if reason.code == code)


def _reasons_of(result: EvaluationResult, rule: Rule) -> tuple[str, ...]:
    return tuple(
        f"{reason.code} ({reason.rule})" for reason in result.reasons if reason.rule == rule.id
    )


def _reads(rule: Rule) -> frozenset[str]:
    """Return the variables that decide; messages do not."""
    return rule.body.reads if rule.limit is None else rule.body.reads | rule.limit.per.reads
