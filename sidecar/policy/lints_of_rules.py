"""Warnings about rules: what one says by itself, and beside the others."""

import itertools
import re
from collections.abc import Iterator, Mapping

from sidecar.domain.decisions import Meter
from sidecar.domain.windows import Window
from sidecar.policy.conditions import Conditions, values_of
from sidecar.policy.engine import EvaluationError
from sidecar.policy.evaluation import ceiling_of
from sidecar.policy.policy_set import PolicySet
from sidecar.policy.problems import Problem, at
from sidecar.policy.rules import LimitTerms, Rule, RuleEffect
from sidecar.policy.variables import FROM_DATA

COMBINATIONS_AT_MOST = 2_000
"""How many roles with workspaces and models a rule is tried on."""

FINITE = FROM_DATA - {"key"}
"""Variables of which every value can be tried."""

UNLIMITED = float("inf")
SHORTEST_FIRST = (Window.MINUTE, Window.HOUR, Window.DAY, Window.MONTH)

LEAST_NANO_USD = 1_000_000
"""Less than a thousandth of a dollar: a number this small was meant in dollars."""

_LABEL = re.compile(r"principal\.labels(?:\[\s*[\"']([^\"']+)[\"']\s*\]|\.(\w+))")
_GUARD = re.compile(
    r"[\"']([^\"']+)[\"']\s+in\s+principal\.labels\b|has\(\s*principal\.labels\.(\w+)\s*\)"
)
_COMMENT = re.compile(r"(?m)^\s*//.*$")
_FIELD = re.compile(r"\b(?:role|workspace|request)\.(\w+)")
_UNITS = {"_usd": Meter.COST, "token": Meter.TOKENS, "requests": Meter.REQUESTS}
_WINDOWS = {"per_minute": Window.MINUTE, "daily": Window.DAY, "monthly": Window.MONTH}
_MONEY = re.compile(r"spend\[\s*[\"']([^\"']+)[\"']\s*\]\s*\.(?:used|ceiling)\s*[<>=!]=?\s*(\d+)\b")


def lint(texts: Mapping[str, str], policy: PolicySet) -> Iterator[Problem]:
    """Yield the warnings; texts are those of the files."""
    meters = {rule.id: rule.terms.meter for rule in policy.limits}
    for rule in policy.rules:
        text = texts[f"{rule.id}.cel"]
        yield from _unguarded_labels(rule, text)
        yield from _constant(rule, text, policy)
        yield from _money_in_dollars(rule, text, meters)
        if rule.limit is not None:
            yield from _other_units(rule, rule.limit, text)
    yield from _shadowed(texts, policy)
    yield from _ceilings_above_others(texts, policy)


def _in_rule(
    rule: Rule, text: str, offset: int, warning: str, message: str, hint: str = ""
) -> Problem:
    """Warn at an offset of a rule's file."""
    before = text[:offset]
    line, column = before.count("\n") + 1, offset - (before.rfind("\n") + 1) + 1
    return at(f"{rule.id}.cel", text, line, column, message, hint).as_warning(warning)


def _unguarded_labels(rule: Rule, text: str) -> Iterator[Problem]:
    """A label that is missing makes a deny rule or a limit fail, and so deny everybody."""
    if rule.effect is RuleEffect.ALLOW:
        return
    scope = "" if rule.limit is None else rule.limit.per.source
    scope_at = text.find(scope, text.find("// per:")) if scope else 0
    for code, offset in ((_blank(_COMMENT, text), 0), (scope, scope_at)):
        guarded = {found[1] or found[2] for found in _GUARD.finditer(code)}
        for found in _LABEL.finditer(code):
            label = found[1] or found[2]
            if label not in guarded:
                message = f"without the label '{label}' this fails, and so denies"
                hint = f'guard it: "{label}" in principal.labels && …'
                if offset:
                    hint = f'give those without it a scope: "{label}" in principal.labels ? … : ""'
                at_ = offset + found.start()
                yield _in_rule(rule, text, at_, "unguarded-label", message, hint)


def _constant(rule: Rule, text: str, policy: PolicySet) -> Iterator[Problem]:
    """Try a rule that reads the data files alone on all that they hold."""
    if not rule.body.reads <= FINITE or rule.effect is RuleEffect.ALLOW:
        return
    values = set(itertools.islice(_values_from_data(rule, policy), COMBINATIONS_AT_MOST))
    start = _start(text)
    if rule.effect is RuleEffect.DENY and len(values) == 1:
        verdict = "always fails, and so denies every call"
        if "error" not in values:
            verdict = "always denies" if values == {True} else "never denies"
        message = f"with these data files the rule {verdict}"
        yield _in_rule(rule, text, start, "constant-rule", message)
    elif rule.effect is RuleEffect.LIMIT and values == {None}:
        message = "with these data files the limit is always unlimited"
        yield _in_rule(rule, text, start, "limit-never-bites", message)
    elif rule.effect is RuleEffect.LIMIT and values == {0}:
        message = "with these data files the limit is always 0"
        yield _in_rule(rule, text, start, "limit-always-bites", message)


def _values_from_data(rule: Rule, policy: PolicySet) -> Iterator[object]:
    """Yield what a rule comes to for each role, workspace and model."""
    catalogue = policy.catalogue
    models = {model.message.id: model.message for model in catalogue.models.values()}
    for role, workspace, model in itertools.product(
        catalogue.roles.values(), catalogue.workspaces.values(), models.values()
    ):
        values = values_of(role.message, workspace, model)
        try:
            value = rule.body.program.evaluate(policy.engine.bind(values))
        except EvaluationError:
            yield "error"
            continue
        yield value if rule.limit is None else ceiling_of(value, rule.limit.meter)


def _other_units(rule: Rule, terms: LimitTerms, text: str) -> Iterator[Problem]:
    """A limit of tokens whose ceiling is money, or a ceiling for a day that counts a month."""
    code = _blank(_COMMENT, text)
    fields = list(_FIELD.finditer(code))
    for found in fields:
        field = found[1]
        units = [unit for part, unit in _UNITS.items() if part in field]
        if units and terms.meter not in units:
            message = f"the limit counts {terms.meter.value}, and {field} is {units[0].value}"
            hint = f"`meter: {units[0].value}`, or another field"
            yield _in_rule(rule, text, found.start(), "unit-mismatch", message, hint)
        for part, window in _WINDOWS.items():
            if part in field and terms.window is not window:
                message = f"the window is {terms.window.value}, and {field} is for a {window.value}"
                hint = f"`window: {window.value}`, or another field"
                yield _in_rule(rule, text, found.start(), "unit-mismatch", message, hint)


def _money_in_dollars(rule: Rule, text: str, meters: Mapping[str, Meter]) -> Iterator[Problem]:
    """`used` and `ceiling` of a cost are nano-USD."""
    for found in _MONEY.finditer(_blank(_COMMENT, text)):
        if meters.get(found[1]) is Meter.COST and 0 < int(found[2]) < LEAST_NANO_USD:
            message = f"the spend of {found[1]} is in nano-USD, so this is less than $0.001"
            hint = "a dollar is 1000000000; or compare `.fraction`"
            yield _in_rule(rule, text, found.start(2), "unit-mismatch", message, hint)


def _shadowed(texts: Mapping[str, str], policy: PolicySet) -> Iterator[Problem]:
    """Find rules that say the same as another, or hold only where another holds."""
    conditions = {rule.id: Conditions(rule).texts for rule in policy.rules}
    for rule, other in itertools.permutations(policy.rules, 2):
        if rule.effect is not other.effect or rule.shadow or other.shadow:
            continue
        mine, others = conditions[rule.id], conditions[other.id]
        where = texts[f"{rule.id}.cel"], _start(texts[f"{rule.id}.cel"])
        if mine == others and _scope(rule) == _scope(other) and other.id < rule.id:
            message, hint = f"says the same as {other.id}", "one of them is enough"
            yield _in_rule(rule, *where, "same-as-another", message, hint)
        elif rule.limit is None and others < mine:
            message = f"holds only where {other.id} holds, which is about more calls"
            yield _in_rule(rule, *where, "shadowed-rule", message, "remove the narrower, or both")


def _ceilings_above_others(texts: Mapping[str, str], policy: PolicySet) -> Iterator[Problem]:
    """Find limits that never bite, since a longer window of the same scope has no more."""
    ceilings = {
        rule.id: list(itertools.islice(_values_from_data(rule, policy), COMBINATIONS_AT_MOST))
        for rule in policy.limits
        if rule.body.reads <= FINITE and rule.terms.window in SHORTEST_FIRST and not rule.shadow
    }
    limits = [rule for rule in policy.limits if rule.id in ceilings]
    for rule, other in itertools.permutations(limits, 2):
        length, longer = (SHORTEST_FIRST.index(each.terms.window) for each in (rule, other))
        if rule.terms.meter is not other.terms.meter or _per(rule) != _per(other):
            continue
        if length < longer and _never_less(ceilings[rule.id], ceilings[other.id]):
            text = texts[f"{rule.id}.cel"]
            message = f"never below the ceiling of {other.id}, which counts a longer window"
            hint = f"a {rule.terms.window.value} should have less than a {other.terms.window.value}"
            yield _in_rule(rule, text, _start(text), "limit-never-bites", message, hint)


def _never_less(ceilings: list[object], others: list[object]) -> bool:
    """Whether each ceiling, where both are numbers or unlimited, is one that is never reached."""
    pairs = list(zip(ceilings, others, strict=True))
    if any("error" in pair for pair in pairs) or all(other is None for other in others):
        return False
    return all(_number(ceiling) >= _number(other) for ceiling, other in pairs)


def _number(ceiling: object) -> float:
    return ceiling if isinstance(ceiling, int | float) else UNLIMITED


def _scope(rule: Rule) -> tuple[object, ...]:
    return () if rule.limit is None else (rule.limit.meter, rule.limit.window, _per(rule))


def _per(rule: Rule) -> str:
    return " ".join(rule.terms.per.source.split())


def _start(text: str) -> int:
    """Return the offset at which the expression begins."""
    code = _blank(_COMMENT, text)
    return len(code) - len(code.lstrip())


def _blank(comments: re.Pattern[str], text: str) -> str:
    """Return the text with spaces for comments, so that places stay the same."""
    return comments.sub(lambda comment: " " * len(comment[0]), text)
