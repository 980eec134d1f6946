"""Lints of rules: of each rule alone, and of each in comparison with the others."""

import itertools
import re
from collections.abc import Iterator, Mapping, Sequence

from sidecar.domain.decisions import Meter
from sidecar.policy.files import data
from sidecar.policy.files.problems import Problem, at
from sidecar.policy.policy_set import PolicySet
from sidecar.policy.rules import RuleEffect
from sidecar.policy.static_values import FAILED, StaticValues
from sidecar.policy_tools.lint import anchors, labels, lookalikes, shares
from sidecar.policy_tools.lint import limits as lints_of_limits
from sidecar.policy_tools.lint import names as lints_of_names
from sidecar.policy_tools.lint.conditions import Conditions
from sidecar.policy_tools.lint.failures import FailureLinter
from sidecar.policy_tools.lint.rule_source import RuleSource, sources

MIN_NANO_USD = 1_000_000
"""$0.001: a smaller number was probably meant to be in dollars."""

_COMMENT = re.compile(r"(?m)^[ \t]*//.*$")
_MONEY = re.compile(
    r"spend\[\s*[\"']([^\"']+)[\"']\s*\]\s*\.(?:used|ceiling)\s*[<>=!]=?\s*(\d+)\b(?!\s*[*.])"
)


def lint(
    texts: Mapping[str, str], policy: PolicySet, entries: data.Data
) -> Iterator[Iterator[Problem]]:
    """Yield one iterator of warnings for each kind; `texts` are the rule files by name."""
    rules = sources(texts, policy)
    limits = [source for source in rules if source.rule.limit is not None]
    names = lints_of_names.names_of(entries)
    meters = {rule.id: rule.terms.meter for rule in policy.limits}
    static_values = StaticValues(policy)
    yield _each(labels.lint(source, names, entries) for source in rules)
    failures = FailureLinter(policy.catalogue)
    yield _each(failures.lint(source) for source in rules)
    yield _each(lints_of_names.lint(source, names, entries) for source in rules)
    yield _each(anchors.lint(source) for source in rules)
    yield _each(lookalikes.lint_texts(source) for source in rules)
    yield _each(_constant(source, static_values) for source in rules)
    yield _each(_money_in_dollars(source, meters) for source in rules)
    yield _each(lints_of_limits.mismatched_units(source) for source in limits)
    yield lints_of_limits.never_reached(limits, static_values)
    yield shares.lint(limits, policy)
    yield _shadowed(rules)


def _each(found: Iterator[Iterator[Problem]]) -> Iterator[Problem]:
    return itertools.chain.from_iterable(found)


def _constant(source: RuleSource, static_values: StaticValues) -> Iterator[Problem]:
    """Warn of rules whose value is the same for all entries of the data files."""
    rule = source.rule
    if rule.effect is RuleEffect.ALLOW:
        return
    values: set[object] = set()
    for value in static_values.values(rule, rule.body.reads):
        values.add(value)
        if len(values) > 1:
            return
    if rule.effect is RuleEffect.DENY and values:
        verdict = "always fails, and so denies every call"
        if FAILED not in values:
            verdict = "always denies" if values == {True} else "never denies"
        yield source.warn("constant-rule", f"with these data files the rule {verdict}")
    elif rule.effect is RuleEffect.LIMIT and values == {None}:
        message = "with these data files the limit is always unlimited"
        yield source.warn("limit-never-bites", message)
    elif rule.effect is RuleEffect.LIMIT and values == {0}:
        yield source.warn("limit-always-bites", "with these data files the limit is always 0")


def _money_in_dollars(source: RuleSource, meters: Mapping[str, Meter]) -> Iterator[Problem]:
    """Warn of small numbers compared with `used` or `ceiling` of a cost, in nano-USD."""
    text = source.text
    code = _COMMENT.sub(lambda comment: " " * len(comment[0]), text)
    for found in _MONEY.finditer(code):
        if meters.get(found[1]) is Meter.COST and 0 < int(found[2]) < MIN_NANO_USD:
            message = f"the spend of {found[1]} is in nano-USD, so this is less than $0.001"
            hint = "a dollar is 1000000000; or compare `.fraction`"
            before = text[: found.start(2)]
            line, column = before.count("\n") + 1, len(before) - before.rfind("\n")
            problem = at(f"{source.rule.id}.cel", text, line, column, message, hint)
            yield problem.as_warning("unit-mismatch")


def _shadowed(rules: Sequence[RuleSource]) -> Iterator[Problem]:
    """Warn of rules that are equal to another, or true only if another is true."""
    for effect in RuleEffect:
        alike = [
            (source, Conditions(source.rule).texts)
            for source in rules
            if source.rule.effect is effect and not source.rule.shadow
        ]
        for (source, mine), (another, others) in itertools.permutations(alike, 2):
            rule, other = source.rule, another.rule
            if mine == others and _scope(source) == _scope(another) and other.id < rule.id:
                message, hint = f"the same rule as {other.id}", "remove one of them"
                yield source.warn("same-as-another", message, hint)
            elif rule.limit is None and others < mine:
                message = f"true only where {other.id} is true, which covers more calls"
                yield source.warn("shadowed-rule", message, "remove the narrower rule")


def _scope(source: RuleSource) -> tuple[object, ...]:
    terms = source.rule.limit
    return () if terms is None else (terms.meter, terms.window, terms.anchor, source.per)
