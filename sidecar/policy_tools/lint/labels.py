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
from sidecar.policy_tools.lint.rule_source import RuleSource

LABELS = ("principal", "labels")


def lint(source: RuleSource, names: Mapping[Field, Names], entries: data.Data) -> Iterator[Problem]:
    """Warn of unguarded keys: without the key, a deny rule or limit fails, and so denies."""
    if source.rule.effect is RuleEffect.ALLOW:
        return
    known = KnownKeys(names, entries)
    for read, facts in _reads(source.body, NO_FACTS):
        if not known.has(read, facts):
            name, message, guard = _described(read, source.rule.body.source, known.lacking(read))
            yield source.warn_at(read.tree, name, message, f"guard it: {guard} && …")
    for read, facts in _reads(source.scope, NO_FACTS) if source.scope is not None else ():
        if not known.has(read, facts):
            assert source.rule.limit is not None, "only a limit has a scope"
            per = source.rule.limit.per.source
            name, message, guard = _described(read, per, known.lacking(read))
            hint = f'give those without it a scope: {guard} ? … : ""'
            yield source.warn_in_scope(read.tree, name, message, hint)


def _described(read: KeyRead, source: str, lacking: str) -> tuple[str, str, str]:
    """Return the name and the message of the warning, and an expression that is a guard."""
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
    message = f"without {what} this fails, and so denies"
    return name, f"{message}{lacking}", f"{key} in {holder}"


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
