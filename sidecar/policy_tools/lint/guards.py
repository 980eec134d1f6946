"""Guards: facts that hold for a part of an expression, by the conditions around it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from sidecar.policy.cel.operators import (
    field_of,
    is_operation,
    items_of,
    joined,
    literal_of,
    negated,
)
from sidecar.policy.cel.syntax import Tree, arguments, bare, children
from sidecar.policy.cel.variables import MESSAGES, SPEND

Value = str | int

MAPS = {
    (variable, one.name)
    for variable, message in MESSAGES.items()
    for one in message.fields
    if one.message_type is not None and one.message_type.GetOptions().map_entry
}
"""The fields that are maps, as ("principal", "labels")."""


class Read(NamedTuple):
    """A key that is read from a map: `holder[key]`, or `holder.key`, whose key is a name."""

    tree: Tree
    holder: Tree
    key: Tree | str

    @property
    def place(self) -> tuple[str, str]:
        """What of what is read, alike however it is written."""
        return same(self.holder), repr(self.key) if isinstance(self.key, str) else same(self.key)


@dataclass(frozen=True, slots=True)
class Facts:
    """The keys that are sure to be there, and the values that parts can only have."""

    there: frozenset[tuple[str, str]] = frozenset()
    values: Mapping[str, frozenset[Value]] = field(default_factory=dict)

    def both(self, other: "Facts") -> "Facts":
        """Return what is sure where both hold."""
        values = dict(self.values)
        for part, some in other.values.items():
            values[part] = values[part] & some if part in values else some
        return Facts(self.there | other.there, values)

    def either(self, other: "Facts") -> "Facts":
        """Return what is sure where one of them holds, and it is not known which."""
        common = self.values.keys() & other.values.keys()
        values = {part: self.values[part] | other.values[part] for part in common}
        return Facts(self.there & other.there, values)


ANYTHING = Facts()


def facts_if(tree: Tree, *, value: bool) -> Facts:
    """Return what is sure where a condition has a value."""
    tree = bare(tree)
    operand = negated(tree)
    if operand is not None:
        return facts_if(operand, value=not value)
    for kind, all_hold in (("conditionaland", True), ("conditionalor", False)):
        if is_operation(tree, kind):
            first, *others = (facts_if(part, value=value) for part in joined(tree, kind))
            for other in others:
                first = first.both(other) if value is all_hold else first.either(other)
            return first
    if is_operation(tree, "expr"):
        condition, yes, no = children(tree)
        first = facts_if(condition, value=True).both(facts_if(yes, value=value))
        return first.either(facts_if(condition, value=False).both(facts_if(no, value=value)))
    return _facts_of(tree, value=value)


def _facts_of(tree: Tree, *, value: bool) -> Facts:
    if tree.data == "ident_arg" and tree.children[0] == "has" and value:
        read = read_of(bare(children(children(tree)[0])[0]))
        return ANYTHING if read is None else Facts(frozenset({read.place}))
    if not is_operation(tree, "relation"):
        return ANYTHING
    operator, right = children(tree)
    left = children(operator)[0]
    if operator.data == "relation_in" and value:
        return _facts_of_in(left, right)
    if operator.data == ("relation_eq" if value else "relation_ne"):
        for part, other in ((left, right), (right, left)):
            literal = literal_of(other)
            if literal is not None:
                return Facts(values={same(part): frozenset({literal})})
    return ANYTHING


def _facts_of_in(left: Tree, right: Tree) -> Facts:
    there = frozenset({(same(right), same(left))})
    some = keys_of(right)
    if bare(right).data == "list_lit":
        items = [literal_of(item) for item in items_of(right)]
        some = frozenset(item for item in items if item is not None)
        some = some if len(items) == len([item for item in items if item is not None]) else None
    return Facts(there) if some is None else Facts(there, {same(left): some})


def read_of(tree: Tree) -> Read | None:
    """Return which key is read from a map, if that is what a part does.

    An item of a list is named by a number that is written there (`policy/cel/portable.py`).
    `spend["…"]` is looked at where rules are loaded: each of its keys is the id of a limit.
    """
    tree = bare(tree)
    if tree.data == "member_index":
        holder, key = children(tree)
        literal = literal_of(key)
        is_map = not isinstance(literal, int) or bare(holder).data == "map_lit"
        is_spend = same(holder) == f"ident({SPEND})" and literal is not None
        return Read(tree, holder, key) if is_map and not is_spend else None
    if tree.data == "member_dot":
        (holder,) = children(tree)
        if field_of(holder) in MAPS or bare(holder).data == "map_lit":
            return Read(tree, holder, str(tree.children[1]))
    return None


def keys_of(holder: Tree) -> frozenset[Value] | None:
    """Return the keys that a map surely has which is written in the rule; None of others."""
    holder = bare(holder)
    if is_operation(holder, "expr"):
        _, yes, no = children(holder)
        one, other = keys_of(yes), keys_of(no)
        return None if one is None or other is None else one & other
    if holder.data != "map_lit":
        return None
    keys = (literal_of(key) for key in arguments(holder)[::2])
    return frozenset(key for key in keys if key is not None)


def same(tree: Tree) -> str:
    """Return a text that two parts share which say the same, however they are laid out."""
    tree = bare(tree)
    literal = literal_of(tree)
    if literal is not None:
        return repr(literal)
    if tree.data == "member_dot" and (read := read_of(tree)) is not None:
        return f"member_index({', '.join(read.place)})"
    inside = (str(part) if isinstance(part, str) else same(part) for part in tree.children)
    return f"{tree.data}({', '.join(inside)})"
