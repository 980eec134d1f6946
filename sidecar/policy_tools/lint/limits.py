"""Lints of ceilings: wrong units, and ceilings that are never reached."""

import itertools
from collections.abc import Iterator, Sequence

from sidecar.domain.decisions import Meter
from sidecar.domain.windows import Window
from sidecar.policy.cel.operators import field_of, is_operation, joined
from sidecar.policy.cel.syntax import Tree, bare, children
from sidecar.policy.files.problems import Problem
from sidecar.policy.static_values import ENUMERABLE, FAILED, StaticValues
from sidecar.policy_tools.lint.rule_source import RuleSource

UNLIMITED = float("inf")
SHORTEST_FIRST = (Window.MINUTE, Window.HOUR, Window.DAY, Window.MONTH)

_UNITS = {"_usd": Meter.COST, "token": Meter.TOKENS, "requests": Meter.REQUESTS}
_WINDOWS = {"per_minute": Window.MINUTE, "daily": Window.DAY, "monthly": Window.MONTH}
_WITH_UNITS = {"role", "workspace", "request"}


def other_units(source: RuleSource) -> Iterator[Problem]:
    """Warn of ceilings in other units, as of money for tokens, or a day's for a month."""
    terms = source.rule.terms
    for tree in _ceilings(source.body):
        variable, field = field_of(tree) or ("", "")
        if variable not in _WITH_UNITS:
            continue
        units = [unit for part, unit in _UNITS.items() if part in field]
        if units and terms.meter not in units:
            message = f"the limit counts {terms.meter.value}, and {field} is {units[0].value}"
            hint = f"`meter: {units[0].value}`, or another field"
            yield source.warn_at(tree, "unit-mismatch", message, hint)
        for part, window in _WINDOWS.items():
            if part in field and terms.window is not window:
                message = f"the window is {terms.window.value}, and {field} is for a {window.value}"
                hint = f"`window: {window.value}`, or another field"
                yield source.warn_at(tree, "unit-mismatch", message, hint)


def _ceilings(tree: Tree) -> Iterator[Tree]:
    """Yield what may be the ceiling: each branch and each summand, and no factor of it."""
    tree = bare(tree)
    if is_operation(tree, "expr"):
        for branch in children(tree)[1:]:
            yield from _ceilings(branch)
    elif is_operation(tree, "addition"):
        for part in joined(tree, "addition"):
            yield from _ceilings(part)
    else:
        yield tree


def above_others(sources: Sequence[RuleSource], tried: StaticValues) -> Iterator[Problem]:
    """Warn of limits that are never reached, since a longer window has no higher ceiling."""
    limits = [
        source
        for source in sources
        if source.rule.limit is not None
        and source.rule.body.reads <= ENUMERABLE
        and source.rule.limit.window in SHORTEST_FIRST
        and not source.rule.shadow
    ]
    for source, other in itertools.permutations(limits, 2):
        rule, longer = source.rule, other.rule
        if rule.terms.meter is not longer.terms.meter or source.per != other.per:
            continue
        lengths = [SHORTEST_FIRST.index(each.terms.window) for each in (rule, longer)]
        if lengths[0] < lengths[1] and _never_less(source, other, tried):
            message = f"never below the ceiling of {longer.id}, which counts a longer window"
            shorter = rule.terms.window.value
            hint = f"a {shorter} should have less than a {longer.terms.window.value}"
            yield source.warn("limit-never-bites", message, hint)


def _never_less(source: RuleSource, other: RuleSource, tried: StaticValues) -> bool:
    """Whether each ceiling, where both are numbers or unlimited, is one that is never reached."""
    reads = source.rule.body.reads | other.rule.body.reads
    values = [tried.values(each.rule, reads) for each in (source, other)]
    # A minute slides, so it may have calls of two hours.
    times = 2 if source.rule.terms.window is Window.MINUTE else 1
    bounded = False
    for ceiling, longer in zip(*values, strict=True):
        if FAILED in (ceiling, longer) or _number(ceiling) < _number(longer) * times:
            return False
        bounded |= longer is not None
    return bounded


def _number(ceiling: object) -> float:
    return ceiling if isinstance(ceiling, int | float) else UNLIMITED
