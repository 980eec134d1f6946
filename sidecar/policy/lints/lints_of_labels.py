"""Warnings about labels that the caller may not send."""

from collections.abc import Iterator

from sidecar.policy.cel.operators import field_of, is_operation, joined, literal_of, negated
from sidecar.policy.cel.syntax import Tree, bare, children
from sidecar.policy.files.problems import Problem
from sidecar.policy.lints.rule_source import RuleSource
from sidecar.policy.rules import RuleEffect

LABELS = ("principal", "labels")

_NONE: frozenset[str] = frozenset()


def lint(source: RuleSource) -> Iterator[Problem]:
    """A label that is missing makes a deny rule or a limit fail, and so deny everybody."""
    if source.rule.effect is RuleEffect.ALLOW:
        return
    for tree, label in _unguarded(source.body, _NONE):
        message = f"without the label '{label}' this fails, and so denies"
        hint = f'guard it: "{label}" in principal.labels && …'
        yield source.warn_at(tree, "unguarded-label", message, hint)
    for tree, label in _unguarded(source.scope, _NONE) if source.scope is not None else ():
        message = f"without the label '{label}' this fails, and so denies"
        hint = f'give those without it a scope: "{label}" in principal.labels ? … : ""'
        yield source.warn_in_scope(tree, "unguarded-label", message, hint)


def _unguarded(tree: Tree, sure: frozenset[str]) -> Iterator[tuple[Tree, str]]:
    """Yield each label that is read where it is not sure to be there.

    `a && b` is false where b is, even if a fails, whichever comes first; so a counts only
    where b is true. In `a || b` it counts only where b is false.
    """
    tree = bare(tree)
    label = _read(tree)
    if label is not None:
        if label not in sure:
            yield tree, label
    elif is_operation(tree, "conditionaland") or is_operation(tree, "conditionalor"):
        parts = joined(tree, tree.data)
        shown = [_there_if(part, value=tree.data == "conditionaland") for part in parts]
        for index, part in enumerate(parts):
            others = _NONE.union(*shown[:index], *shown[index + 1 :])
            yield from _unguarded(part, sure | others)
    elif is_operation(tree, "expr"):
        condition, yes, no = children(tree)
        yield from _unguarded(condition, sure)
        yield from _unguarded(yes, sure | _there_if(condition, value=True))
        yield from _unguarded(no, sure | _there_if(condition, value=False))
    elif _guard(tree) is None:
        for part in children(tree):
            yield from _unguarded(part, sure)


def _there_if(tree: Tree, *, value: bool) -> frozenset[str]:
    """Return the labels that are sure to be there where a condition has a value."""
    tree = bare(tree)
    operand = negated(tree)
    if operand is not None:
        return _there_if(operand, value=not value)
    for kind, all_hold in (("conditionaland", True), ("conditionalor", False)):
        if is_operation(tree, kind):
            each = [_there_if(part, value=value) for part in joined(tree, kind)]
            return _NONE.union(*each) if value is all_hold else each[0].intersection(*each[1:])
    label = _guard(tree) if value else None
    return _NONE if label is None else frozenset({label})


def _guard(tree: Tree) -> str | None:
    """Return the label that a condition asks for, as `"team" in principal.labels`."""
    if tree.data == "ident_arg" and tree.children[0] == "has":
        return _read(bare(children(children(tree)[0])[0]))
    if not is_operation(tree, "relation"):
        return None
    operator, right = children(tree)
    if operator.data != "relation_in" or field_of(right) != LABELS:
        return None
    label = literal_of(children(operator)[0])
    return label if isinstance(label, str) else None


def _read(tree: Tree) -> str | None:
    """Return the label that is read, as in `principal.labels["team"]`."""
    if tree.data not in ("member_index", "member_dot") or field_of(children(tree)[0]) != LABELS:
        return None
    label = str(tree.children[1]) if tree.data == "member_dot" else literal_of(children(tree)[1])
    return label if isinstance(label, str) else None
