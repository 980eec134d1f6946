"""Traces of rules: the value of each sub-expression for one call."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import lark

from sidecar.policy.cel.cel_python import CelPythonEngine
from sidecar.policy.cel.engine import EvaluationError
from sidecar.policy.cel.variables import Values, number_text
from sidecar.policy.policy_set import PolicySet
from sidecar.policy.rules import Rule, RuleEffect

Tree = lark.Tree[lark.Token]

_CONNECTIVES = {"conditionalor", "conditionaland"}
_BOOLEAN = _CONNECTIVES | {"relation"}
_SHOWN = _BOOLEAN | {"expr", "unary", "member_dot", "member_index", "member_dot_arg"}
_SHOWN |= {"addition", "multiplication"}
_PREDICATES = {"all", "exists", "exists_one", "contains", "startsWith", "endsWith", "matches"}
_CHAINS = {"member_dot", "member_index", "member_dot_arg"}
MAX_SHOWN = 80
"""Characters of a value; longer ones are cut."""


@dataclass(frozen=True, slots=True)
class Part:
    """A sub-expression: its text, its place in the file, and its depth."""

    text: str
    line: int
    column: int
    depth: int
    is_condition: bool
    tree: Tree
    guards: tuple[tuple[Tree, bool], ...] = ()
    """Conditions before it, each with the value for which this part decides nothing."""


@dataclass(frozen=True, slots=True)
class PartValue:
    """A part's value for one call; None is an error.

    A failed part was not needed if an enclosing part has a value all the same. A part is
    not reached if those before it decide: b of `a && b`, where a is false.
    """

    part: Part
    value: Any
    reached: bool = True
    needed: bool = True

    @property
    def shown(self) -> str:
        """The value as text."""
        return shown(self.value) if self.needed else "not needed"

    def __str__(self) -> str:
        """Return `text = value`."""
        return f"{self.part.text} = {self.shown}"


class Tracer:
    """Splits an expression into parts, and evaluates each."""

    def __init__(self, parser: CelPythonEngine, rule: Rule) -> None:
        """Find the parts of a rule's body."""
        self._parser = parser
        self._double = rule.body.program.double
        source = rule.body.source
        tree = parser.parse(source)
        is_bool = rule.effect is not RuleEffect.LIMIT
        parts = list(_parts(tree, source, 0, is_operand=is_bool))
        self.parts = parts or [_whole(tree, source, is_condition=is_bool)]

    def values(self, binding: Any) -> list[PartValue]:
        """Return each part's value for a binding of the cel-python engine."""
        known: dict[int, Any] = {}

        def value(tree: Tree) -> Any:
            if id(tree) not in known:
                known[id(tree)] = self._value(tree, binding)
            return known[id(tree)]

        values = [
            PartValue(
                part,
                value(part.tree),
                reached=all(value(guard) is not masks for guard, masks in part.guards),
            )
            for part in self.parts
        ]
        return list(_with_needed(values))

    def _value(self, tree: Tree, binding: Any) -> Any:
        try:
            return self._parser.evaluate_part(tree, binding, double=self._double)
        except EvaluationError:
            return None


class RuleTraces:
    """The tracers of every rule of a policy set."""

    def __init__(self, policy: PolicySet) -> None:
        """Split every rule, with a parser of its own."""
        self._parser = CelPythonEngine()
        self.rules = [(rule, Tracer(self._parser, rule)) for rule in policy.rules]

    def values(self, values: Values) -> list[tuple[Rule, list[PartValue]]]:
        """Return each rule with the values of its parts, for one call."""
        binding = self._parser.bind(values)
        return [(rule, tracer.values(binding)) for rule, tracer in self.rules]


def _parts(
    tree: Tree,
    source: str,
    depth: int,
    within: str = "",
    guards: tuple[tuple[Tree, bool], ...] = (),
    *,
    is_operand: bool = False,
) -> Iterator[Part]:
    """Yield the parts in a tree. Macros stay whole: their inside has variables of its own.

    The tree of `a && b && c` is `(a && b) && c`; its parts here are a, b and c. Operands
    of `&&`, `||` and `!`, and what is before a `?`, are always conditions.
    """
    is_call = _called(tree) is not None
    is_part = is_call or (tree.data in _SHOWN and len(tree.children) > 1)
    is_part = is_part and not (tree.data == within and tree.data in _CONNECTIVES)
    start, end = getattr(tree.meta, "start_pos", None), getattr(tree.meta, "end_pos", None)
    if is_part and start is not None and end is not None:
        condition = is_operand or _is_condition(tree)
        text = " ".join(source[start:end].split())
        yield Part(text, tree.meta.line, tree.meta.column, depth, condition, tree, guards)
        depth, within = depth + 1, tree.data
        if tree.data in _CHAINS or is_call:
            return
        is_operand = is_operand and tree.data == "expr"
    is_choice = tree.data == "expr" and len(tree.children) > 1
    has_bool_operands = len(tree.children) > 1 and (tree.data in _CONNECTIVES or _is_negation(tree))
    for number, child in enumerate(tree.children):
        if isinstance(child, lark.Tree):
            is_condition = is_operand or has_bool_operands or (is_choice and number == 0)
            around = (*guards, *_guards(tree, number))
            yield from _parts(child, source, depth, within, around, is_operand=is_condition)


def _guards(tree: Tree, number: int) -> Iterator[tuple[Tree, bool]]:
    """Yield the operand that decides without another one, with the value for which it does."""
    first = tree.children[0]
    if number and len(tree.children) > 1 and isinstance(first, lark.Tree):
        if tree.data in _CONNECTIVES:
            yield first, tree.data == "conditionalor"
        elif tree.data == "expr":
            yield first, number == len(tree.children) - 1  # true masks the last branch


def _is_condition(tree: Tree) -> bool:
    """Whether a part yields a bool by its syntax alone."""
    if tree.data == "member_dot_arg":
        return str(tree.children[1]) in _PREDICATES
    return tree.data in _BOOLEAN or _called(tree) == "has" or _is_negation(tree)


def _called(tree: Tree) -> str | None:
    """Return the function that a part calls, None if it is not a function call."""
    inner = tree.children[0] if tree.data == "primary" else None
    is_call = isinstance(inner, lark.Tree) and inner.data == "ident_arg"
    return str(inner.children[0]) if is_call and isinstance(inner, lark.Tree) else None


def _is_negation(tree: Tree) -> bool:
    operator = tree.children[0] if tree.data == "unary" else None
    return isinstance(operator, lark.Tree) and operator.data == "unary_not"


def _with_needed(values: list[PartValue]) -> Iterator[PartValue]:
    """Mark failed parts as not needed if an enclosing part has a value."""
    failed_around: list[bool] = []
    for each in values:
        del failed_around[each.part.depth :]
        failed = each.value is None
        yield replace(each, needed=not failed or all(failed_around))
        failed_around.append(failed)


def _whole(tree: Tree, source: str, *, is_condition: bool) -> Part:
    """Return a whole expression as its only part."""
    text = source[tree.meta.start_pos : tree.meta.end_pos]
    return Part(text, tree.meta.line, tree.meta.column, 0, is_condition, tree)


def shown(value: Any) -> str:
    """Format a value, cut to MAX_SHOWN characters."""
    if value is None:
        return "error"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        text = f'"{value}"'
    elif isinstance(value, list):
        text = f"[{', '.join(shown(item) for item in value)}]"
    elif isinstance(value, dict):
        text = f"{{{', '.join(f'{key}: {shown(item)}' for key, item in sorted(value.items()))}}}"
    else:
        text = number_text(value)
    return text if len(text) <= MAX_SHOWN else f"{text[: MAX_SHOWN - 1]}…"
