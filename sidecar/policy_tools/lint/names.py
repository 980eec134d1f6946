"""Lints of comparisons that are never true: with unknown names, or impossible times."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import get_args

from sidecar.domain.usage import Endpoint
from sidecar.policy.catalogue import UNKNOWN_KEY
from sidecar.policy.cel import variables
from sidecar.policy.cel.operators import (
    ComparisonNode,
    call_of,
    comparisons,
    field_of,
    items_of,
    literal_of,
)
from sidecar.policy.cel.syntax import Tree, bare
from sidecar.policy.files import data, entries
from sidecar.policy.files.problems import Problem, did_you_mean
from sidecar.policy_tools.lint.rule_source import RuleSource

Field = tuple[str, str]

KEY_STATES = {*get_args(entries.KeyEntry.model_fields["state"].annotation), UNKNOWN_KEY, ""}

TIMES = {
    "getMonth": (0, 11, "0 is January"),
    "getDayOfWeek": (0, 6, "0 is Sunday"),
    "getDate": (1, 31, "1 is the first; getDayOfMonth() begins with 0"),
    "getDayOfMonth": (0, 30, "0 is the first; getDate() begins with 1"),
    "getDayOfYear": (0, 365, "0 is the first of January"),
    "getHours": (0, 23, ""),
    "getMinutes": (0, 59, ""),
    "getSeconds": (0, 59, ""),
    "getMilliseconds": (0, 999, ""),
}
"""For each getter: minimum, maximum, and a hint."""


@dataclass(frozen=True, slots=True)
class Names:
    """The possible values of a field; `what` is the kind of value, for messages."""

    what: str
    known: frozenset[str]


def names_of(entries: data.Data) -> dict[Field, Names]:
    """Return the possible values of each field that data files or the contract define."""
    families = {model.family for model in entries.models.values()}
    roles = Names("role", frozenset(entries.roles))
    workspaces = Names("workspace", frozenset(entries.workspaces))
    return {
        ("role", "name"): roles,
        ("principal", "role"): roles,
        ("workspace", "name"): workspaces,
        ("principal", "workspace"): workspaces,
        ("model", "id"): Names("model", frozenset(entries.models)),
        ("model", "family"): Names("family", frozenset(families)),
        ("model", "names"): Names("model, alias or family", frozenset(families | {*entries.names})),
        ("request", "model"): Names("model or alias", frozenset(entries.names)),
        ("request", "endpoint"): Names("endpoint", frozenset(Endpoint)),
        ("key", "state"): Names("state of a key", frozenset(KEY_STATES)),
    }


def lint(source: RuleSource, names: Mapping[Field, Names], entries: data.Data) -> Iterator[Problem]:
    """Warn of comparisons with names and times that no call can have."""
    for comparison in comparisons(source.body):
        yield from _names(source, comparison, names, entries)
        yield from _times(source, comparison)


def _names(
    source: RuleSource, comparison: ComparisonNode, names: Mapping[Field, Names], entries: data.Data
) -> Iterator[Problem]:
    for field, tree in _compared(comparison):
        name = literal_of(tree)
        known = names[field].known if field in names else frozenset()
        if known and isinstance(name, str) and name not in known:
            message, hint = _unknown_name(field, name, names[field], entries)
            yield source.warn_at(bare(tree), "no-such-name", message, hint)


def _unknown_name(field: Field, name: str, names: Names, entries: data.Data) -> tuple[str, str]:
    if field == ("model", "id") and name in entries.names:
        hint = f"model.id is '{entries.names[name]}'; or write \"{name}\" in model.names"
        return f"'{name}' is an alias", hint
    return f"no {names.what} is named '{name}'", did_you_mean(name, names.known)


def _compared(comparison: ComparisonNode) -> Iterator[tuple[Field, Tree]]:
    """Yield each field that is compared, with the other operand."""
    operator, left, right = comparison
    one, other = field_of(left), field_of(right)
    if operator in ("eq", "ne"):
        if one is not None:
            yield one, right
        if other is not None:
            yield other, left
    elif operator == "in" and other == ("model", "names"):
        yield other, left
    elif operator == "in" and one is not None:
        for item in items_of(right):
            yield one, item


def _times(source: RuleSource, comparison: ComparisonNode) -> Iterator[Problem]:
    operator, left, right = comparison
    for getter, trees, is_right in (
        (_getter(left), items_of(right) if operator == "in" else [right], True),
        (_getter(right), [left], False),
    ):
        for tree in trees if getter in TIMES else ():
            number = literal_of(tree)
            first, last, hint = TIMES[getter]
            if isinstance(number, int) and not first <= number <= last:
                if number == last + 1 and operator in ("lt" if is_right else "gt"):
                    continue  # `< 24` is the rest of the day
                message = f"{getter}() is from {first} to {last}"
                yield source.warn_at(bare(tree), "no-such-time", message, hint)


def _getter(tree: Tree) -> str:
    """Return the getter that a part calls on `now`, else "".

    Getters of a duration are not checked: its hours may exceed 23.
    """
    called = call_of(tree)
    if called is None:
        return ""
    variable = bare(called[0])
    is_now = variable.data == "ident" and variable.children[0] == variables.NOW
    return called[1] if is_now else ""
