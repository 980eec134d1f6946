"""Lints of keys that may be missing from a map: of labels, services and map literals."""

from collections.abc import Iterator, Mapping

from sidecar.policy.cel.operators import field_of, is_operation, joined, literal_of
from sidecar.policy.cel.syntax import Tree, bare, children
from sidecar.policy.files import data
from sidecar.policy.files.problems import Problem
from sidecar.policy.rules import RuleEffect
from sidecar.policy_tools.format import in_line
from sidecar.policy_tools.lint.guards import NO_FACTS, Facts, KeyRead, facts_if, read_of
from sidecar.policy_tools.lint.known_keys import KnownKeys
from sidecar.policy_tools.lint.names import Field, Names
from sidecar.policy_tools.lint.rule_source import RuleSource, Use

LABELS = ("principal", "labels")

_RESULTS = {
    Use.BODY: "this fails, and so denies",
    Use.SCOPE: "this fails, and so denies",
    Use.MESSAGE: "this fails, and the message is shown as it is written",
}
_HINTS = {
    Use.BODY: "guard it: {guard} && …",
    Use.SCOPE: 'give those without it a scope: {guard} ? … : ""',
    Use.MESSAGE: 'give those without it a text: {guard} ? … : ""',
}


def lint(source: RuleSource, names: Mapping[Field, Names], entries: data.Data) -> Iterator[Problem]:
    """Warn of unguarded keys: without the key, a deny rule or limit fails, and so denies."""
    if source.rule.effect is RuleEffect.ALLOW:
        return
    known = KnownKeys(names, entries)
    for inside in source.expressions:
        for read, facts in _reads(inside.tree, NO_FACTS):
            if not known.has(read, facts):
                name, what, guard = _described(read, inside.source)
                message = f"without {what} {_RESULTS[inside.use]}{known.lacking(read, facts)}"
                hint = _HINTS[inside.use].format(guard=guard)
                yield source.warn_in(inside, read.tree, name, message, hint)


def _described(read: KeyRead, source: str) -> tuple[str, str, str]:
    """Return the name of the warning, what is missing, and an expression that is a guard."""
    holder = in_line(source[read.holder.meta.start_pos : read.holder.meta.end_pos])
    if isinstance(read.key, str):
        literal: str | int | None = read.key
    else:
        literal = literal_of(read.key)
        key = in_line(source[read.key.meta.start_pos : read.key.meta.end_pos])
    if isinstance(literal, str):
        key = f'"{literal}"'
    name, what = "unguarded-key", f"the key {key}"
    if field_of(read.holder) == LABELS:
        name = "unguarded-label"
        what = f"the label '{literal}'" if isinstance(literal, str) else f"the label {key}"
    return name, what, f"{key} in {holder}"


def _reads(tree: Tree, facts: Facts) -> Iterator[tuple[KeyRead, Facts]]:
    """Yield each read of a key, with the facts that are certain there.

    `a && b` is false if b is false, even if a fails, in either order. So a failure of a matters
    only where b is true. In `a || b` it matters only where b is false.
    """
    tree = bare(tree)
    if is_operation(tree, "conditionaland") or is_operation(tree, "conditionalor"):
        parts = joined(tree, tree.data)
        implied = [facts_if(part, value=tree.data == "conditionaland") for part in parts]
        for index, part in enumerate(parts):
            others = facts
            for other in (*implied[:index], *implied[index + 1 :]):
                others = others.both(other)
            yield from _reads(part, others)
    elif is_operation(tree, "expr"):
        condition, yes, no = children(tree)
        yield from _reads(condition, facts)
        yield from _reads(yes, facts.both(facts_if(condition, value=True)))
        yield from _reads(no, facts.both(facts_if(condition, value=False)))
    else:
        read = read_of(tree)
        if read is not None:
            yield read, facts
        is_has = tree.data == "ident_arg" and tree.children[0] == "has"
        tested = read_of(children(children(tree)[0])[0]) if is_has else None
        for part in children(tree) if tested is None else [tested.holder]:
            yield from _reads(part, facts)
