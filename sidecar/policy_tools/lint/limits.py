"""Lints of ceilings: in another unit than the limit counts, or never reached."""

import itertools
from collections.abc import Iterator, Sequence

from sidecar.domain.decisions import Meter
from sidecar.domain.windows import SHORTEST_FIRST, Window, is_inside
from sidecar.policy.cel.operators import field_of, is_operation, joined
from sidecar.policy.cel.syntax import Tree, bare, children
from sidecar.policy.files.problems import Problem
from sidecar.policy.static_values import ENUMERABLE, FAILED, StaticValues
from sidecar.policy_tools.lint.rule_source import RuleSource

UNLIMITED = float("inf")

_UNITS = {"_usd": Meter.COST, "token": Meter.TOKENS, "requests": Meter.REQUESTS}
_WINDOWS = {
    "per_minute": Window.MINUTE,
    "daily": Window.DAY,
    "weekly": Window.WEEK,
    "monthly": Window.MONTH,
    "quarterly": Window.QUARTER,
    "yearly": Window.YEAR,
}
_WITH_UNITS = {"role", "workspace", "request"}


def mismatched_units(source: RuleSource) -> Iterator[Problem]:
    """Warn of ceilings in another unit: money for tokens, or a day's ceiling for a month."""
    terms = source.rule.terms
    for tree in _ceilings(source.body):
        variable, field = field_of(tree) or ("", "")
        if variable not in _WITH_UNITS:
            continue
        units = [unit for part, unit in _UNITS.items() if part in field]
        if units and terms.meter not in units:
            message = f"the limit counts {terms.meter.value}, but {field} is {units[0].value}"
            hint = f"`meter: {units[0].value}`, or another field"
            yield source.warn_at(tree, "unit-mismatch", message, hint)
        for part, window in _WINDOWS.items():
            if part in field and terms.window is not window:
                message = f"the window is {terms.window.value}, but {field} is for a {window.value}"
                hint = f"`window: {window.value}`, or another field"
                yield source.warn_at(tree, "unit-mismatch", message, hint)


def _ceilings(tree: Tree) -> Iterator[Tree]:
    """Yield the parts that are in the unit of the ceiling: branches and summands, not factors."""
    tree = bare(tree)
    if is_operation(tree, "expr"):
        for branch in children(tree)[1:]:
            yield from _ceilings(branch)
    elif is_operation(tree, "addition"):
        for part in joined(tree, "addition"):
            yield from _ceilings(part)
    else:
        yield tree


def never_reached(sources: Sequence[RuleSource], static_values: StaticValues) -> Iterator[Problem]:
    """Warn of limits whose ceiling is never below that of the same limit on a longer window."""
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
        if lengths[0] < lengths[1] and _is_never_below(source, other, static_values):
            message = f"never below the ceiling of {longer.id}, which counts a longer window"
            shorter = rule.terms.window.value
            hint = f"a {shorter} should have less than a {longer.terms.window.value}"
            yield source.warn("limit-never-bites", message, hint)


def _is_never_below(source: RuleSource, other: RuleSource, static_values: StaticValues) -> bool:
    """Whether the ceiling is at least the other one, for every combination of entries.

    False if either fails for one of them, or if the longer window never has a ceiling.
    """
    reads = source.rule.body.reads | other.rule.body.reads
    values = [static_values.values(each.rule, reads) for each in (source, other)]
    terms, longer_terms = source.rule.terms, other.rule.terms
    inside = is_inside(terms.window, terms.anchor, longer_terms.window, longer_terms.anchor)
    # A sliding minute, or a week, may contain calls of two windows of the longer limit.
    times = 1 if inside else 2
    bounded = False
    for ceiling, longer in zip(*values, strict=True):
        if FAILED in (ceiling, longer) or _number(ceiling) < _number(longer) * times:
            return False
        bounded |= longer is not None
    return bounded


def _number(ceiling: object) -> float:
    return ceiling if isinstance(ceiling, int | float) else UNLIMITED
