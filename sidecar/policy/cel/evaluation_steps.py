"""Evaluation steps: an upper bound on an expression's time and memory, for any request.

A step is the evaluation of one part; operations on strings and lists take more, by their
size. Maximum sizes are known, so the bound is computed once, when a rule loads.
"""

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace

import lark

from sidecar.policy.cel import patterns, text_functions, variables
from sidecar.policy.cel.engine import CelError
from sidecar.policy.cel.sizes import BULK, NUMBER, Largest, ValueSize, either

MAX_STEPS = 10_000
"""Of one expression: at most about 25 ms on cel-cpp, and 0.5 s on cel-python."""

CLOCK_STEPS = 8
"""Steps of reading a time in a time zone."""

Tree = lark.Tree[lark.Token]

_MACROS = {"all", "exists", "exists_one", "filter", "map"}
_MAX_SHOWN = 60


@dataclass(frozen=True, slots=True)
class _Loop:
    """A macro around a part: the text of its list or map, and the most iterations."""

    over: str
    times: int


@dataclass(frozen=True, slots=True)
class _Inside:
    """The context of a part: the variables of the macros around it, and their loops."""

    names: Mapping[str, ValueSize]
    loops: tuple[_Loop, ...]

    @property
    def times(self) -> int:
        """How often a part in this context is evaluated."""
        return math.prod(loop.times for loop in self.loops)


def check(tree: Tree, source: str, largest: Largest) -> None:
    """Raise CelError, at the most expensive part, if an expression may take too many steps."""
    meter = _Meter(source, largest)
    try:
        meter.size(tree, _Inside({}, ()))
    except RecursionError:
        raise CelError(
            "has too many operators in a row", hint="split it into several rules"
        ) from None
    if meter.total > MAX_STEPS:
        raise meter.too_many()


def estimate(tree: Tree, source: str, largest: Largest) -> tuple[int, ValueSize]:
    """Return the upper bounds of an expression's steps, and of its value's size."""
    meter = _Meter(source, largest)
    size = meter.size(tree, _Inside({}, ()))
    return meter.total, size


class _Meter:
    """Walks an expression and counts its steps, by loops."""

    def __init__(self, source: str, largest: Largest) -> None:
        self._steps: Counter[tuple[_Loop, ...]] = Counter()
        self._source = source
        self._largest = largest
        self._most_expensive: dict[tuple[_Loop, ...], tuple[int, Tree]] = {}

    @property
    def total(self) -> int:
        """The sum of all steps."""
        return sum(self._steps.values())

    def too_many(self) -> CelError:
        """Return the error: the number of steps, and the loops or operation with most of them."""
        loops = max(self._steps, key=lambda each: self._steps[each])
        once, part = self._most_expensive[loops]
        if once > math.prod(loop.times for loop in loops):
            cause = f"`{self._text(part)}` takes {_count(once)} by itself: its strings may be long"
        else:
            cause = ", and for each, ".join(
                f"`{loop.over}` has up to {loop.times:,} items" for loop in loops
            )
        return CelError(
            f"may take {_count(self.total)} steps; the maximum is {MAX_STEPS:,}",
            part.meta.line,
            part.meta.column,
            cause,
        )

    def size(self, node: Tree, inside: _Inside) -> ValueSize:
        """Return the maximum size of a part's value, and count its steps."""
        parts = [child for child in node.children if isinstance(child, lark.Tree)]
        match node.data:
            case "ident":
                size = self._variable(str(node.children[0]))
                size = inside.names.get(str(node.children[0]), size)
            case "literal":
                size = _of_literal(node.children[0])
            case "member_dot":
                size = self._field(self.size(parts[0], inside), str(node.children[1]))
            case "member_index":
                size = self._sizes(parts, inside)[0].item or NUMBER
            case "member_dot_arg":
                return self._method(node, parts, inside)
            case "list_lit" | "map_lit":
                items = self._sizes(parts, inside)
                any_item = ValueSize.any_of(items)
                key = any_item if node.data == "map_lit" else None
                size = ValueSize(len(items), any_item, key)
            case "expr" if len(parts) > 1:
                size = ValueSize.any_of(self._sizes(parts, inside)[1:])
            case "ident_arg":
                self._sizes(parts, inside)
                size = NUMBER
            case _ if len(parts) > 1:
                return self._operation(node, parts, inside)
            case _:
                return self.size(parts[0], inside) if parts else NUMBER
        self._spend(node, 1, inside)
        return size

    def _sizes(self, parts: list[Tree], inside: _Inside) -> list[ValueSize]:
        if len(parts) == 1 and parts[0].data in ("exprlist", "mapinits"):
            parts = [child for child in parts[0].children if isinstance(child, lark.Tree)]
        return [self.size(part, inside) for part in parts]

    def _variable(self, name: str) -> ValueSize:
        if name in variables.MESSAGES:
            return ValueSize(message=variables.MESSAGES[name].full_name)
        if name == variables.LISTS:
            return self._largest.lists
        if name == variables.TODAY:
            return ValueSize(len("2026-12-25"))
        return self._largest.spend if name == variables.SPEND else NUMBER

    def _field(self, value: ValueSize, name: str) -> ValueSize:
        if value.message:
            return self._largest.field(value.message, name)
        return value.item or NUMBER  # of a map, where a dot is a key

    def _operation(self, node: Tree, parts: list[Tree], inside: _Inside) -> ValueSize:
        one, other = self._sizes(parts, inside)
        operator = node.children[0]
        name = operator.data if isinstance(operator, lark.Tree) else ""
        if name == "addition_add":
            joined = ValueSize(one.count + other.count, either(one.item, other.item))
            self._spend(node, 1 + joined.count // BULK, inside)
            return joined
        by_key = name == "relation_in" and other.key is not None
        if name.startswith("relation") and not by_key and (one.has_messages or other.has_messages):
            message = "whole entries cannot be compared"
            hint = "compare their names, as in role.name == workspace.name"
            raise CelError(message, node.meta.line, node.meta.column, hint)
        compared = min(one.bulk, other.bulk)
        if name == "relation_in" and other.item is not None and not by_key:
            compared = other.count * (1 + min(one.bulk, other.item.bulk))
        self._spend(node, 1 + compared, inside)
        return NUMBER

    def _method(self, node: Tree, parts: list[Tree], inside: _Inside) -> ValueSize:
        name = str(node.children[1])
        value = self.size(parts[0], inside)
        if name in _MACROS:
            return self._macro(name, parts, value, inside)
        arguments = self._sizes(parts[1:], inside)
        taken, result = value.bulk, NUMBER
        if name.startswith("get"):
            taken = CLOCK_STEPS
        elif name == "contains":
            taken = value.count * arguments[0].count // BULK**2
        elif name == "matches":
            pattern = self._text(parts[1], len(self._source))
            taken = patterns.states(pattern) * (1 + value.count // (8 * BULK))
        elif name == "split":  # each character may be a separator
            result = ValueSize(value.count + 1, ValueSize(value.count))
            taken += result.count
        elif name in text_functions.FORMS:
            taken, result = value.count // (8 * BULK), ValueSize(value.count)
        self._spend(node, 1 + taken, inside)
        return result

    def _macro(self, name: str, parts: list[Tree], value: ValueSize, inside: _Inside) -> ValueSize:
        """Count its body once per item; a map's items are its keys."""
        variable, *bodies = (part for part in parts[1].children if isinstance(part, lark.Tree))
        item = value.key or value.item or NUMBER
        within = replace(
            inside,
            names={**inside.names, self._text(variable): item},
            loops=(*inside.loops, _Loop(self._text(parts[0]), value.count)),
        )
        self._spend(parts[0], 1, within)
        results = [self.size(body, within) for body in bodies]
        if name in ("filter", "map"):
            return ValueSize(value.count, item if name == "filter" else results[-1])
        return NUMBER

    def _spend(self, node: Tree, once: int, inside: _Inside) -> None:
        self._steps[inside.loops] += once * inside.times
        if once > self._most_expensive.get(inside.loops, (0,))[0]:
            self._most_expensive[inside.loops] = once, node

    def _text(self, node: Tree, at_most: int = _MAX_SHOWN) -> str:
        text = " ".join(self._source[node.meta.start_pos : node.meta.end_pos].split())
        return text if len(text) <= at_most else f"{text[: at_most - 1]}…"


def _of_literal(token: Tree | lark.Token) -> ValueSize:
    is_text = isinstance(token, lark.Token) and token.type == "STRING_LIT"
    return ValueSize(len(str(token)) - 2) if is_text else NUMBER


def _count(steps: int) -> str:
    return f"{steps:,}" if steps < 10**12 else "more than 10^12"
