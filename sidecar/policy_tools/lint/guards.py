"""Guards: facts that are certain where a part of an expression is evaluated.

They follow from the conditions around it, such as `"team" in principal.labels && …`.
"""

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
"""The fields that are maps, such as ("principal", "labels")."""


class KeyRead(NamedTuple):
    """The read of a key from a map: `holder[key]`, or `holder.key`, where the key is a name."""

    tree: Tree
    holder: Tree
    key: Tree | str

    @property
    def identity(self) -> tuple[str, str]:
        """The map and the key in normal form, which is equal for all ways to write them."""
        key = repr(self.key) if isinstance(self.key, str) else normal_form(self.key)
        return normal_form(self.holder), key


@dataclass(frozen=True, slots=True)
class Facts:
    """The keys that certainly exist, and the only values that some parts can have.

    Both are by normal form.
    """

    present: frozenset[tuple[str, str]] = frozenset()
    values: Mapping[str, frozenset[Value]] = field(default_factory=dict)

    def both(self, other: "Facts") -> "Facts":
        """Return what is certain if both apply."""
        values = dict(self.values)
        for part, some in other.values.items():
            values[part] = values[part] & some if part in values else some
        return Facts(self.present | other.present, values)

    def either(self, other: "Facts") -> "Facts":
        """Return what is certain if one of them applies, and it is unknown which one."""
        common = self.values.keys() & other.values.keys()
        values = {part: self.values[part] | other.values[part] for part in common}
        return Facts(self.present & other.present, values)


NO_FACTS = Facts()


def facts_if(tree: Tree, *, value: bool) -> Facts:
    """Return what is certain where a condition has this value."""
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
        return NO_FACTS if read is None else Facts(frozenset({read.identity}))
    if not is_operation(tree, "relation"):
        return NO_FACTS
    operator, right = children(tree)
    left = children(operator)[0]
    if operator.data == "relation_in" and value:
        return _facts_of_in(left, right)
    if operator.data == ("relation_eq" if value else "relation_ne"):
        for part, other in ((left, right), (right, left)):
            literal = literal_of(other)
            if literal is not None:
                return Facts(values={normal_form(part): frozenset({literal})})
    return NO_FACTS


def _facts_of_in(left: Tree, right: Tree) -> Facts:
    present = frozenset({(normal_form(right), normal_form(left))})
    some = keys_of(right)
    if bare(right).data == "list_lit":
        items = [literal_of(item) for item in items_of(right)]
        some = frozenset(item for item in items if item is not None)
        some = some if len(items) == len([item for item in items if item is not None]) else None
    return Facts(present) if some is None else Facts(present, {normal_form(left): some})


def read_of(tree: Tree) -> KeyRead | None:
    """Return the read of a key if a part is one, else None.

    Two reads cannot fail and are left out: `list[0]`, since an index is a number literal
    (`policy/cel/portable.py`), and `spend["…"]`, whose key loading checks against the limits.
    """
    tree = bare(tree)
    if tree.data == "member_index":
        holder, key = children(tree)
        literal = literal_of(key)
        is_map = not isinstance(literal, int) or bare(holder).data == "map_lit"
        is_spend = normal_form(holder) == f"ident({SPEND})" and literal is not None
        return KeyRead(tree, holder, key) if is_map and not is_spend else None
    if tree.data == "member_dot":
        (holder,) = children(tree)
        if field_of(holder) in MAPS or bare(holder).data == "map_lit":
            return KeyRead(tree, holder, str(tree.children[1]))
    return None


def keys_of(holder: Tree) -> frozenset[Value] | None:
    """Return the keys that a map literal certainly has; None if a part is no map literal."""
    holder = bare(holder)
    if is_operation(holder, "expr"):
        _, yes, no = children(holder)
        one, other = keys_of(yes), keys_of(no)
        return None if one is None or other is None else one & other
    if holder.data != "map_lit":
        return None
    keys = (literal_of(key) for key in arguments(holder)[::2])
    return frozenset(key for key in keys if key is not None)


def normal_form(tree: Tree) -> str:
    """Return a text that is equal for two parts that differ only in layout or notation."""
    tree = bare(tree)
    literal = literal_of(tree)
    if literal is not None:
        return repr(literal)
    if tree.data == "member_dot" and (read := read_of(tree)) is not None:
        return f"member_index({', '.join(read.identity)})"
    inside = (str(part) if isinstance(part, str) else normal_form(part) for part in tree.children)
    return f"{tree.data}({', '.join(inside)})"
