"""Operators in a syntax tree: comparisons, conjunctions, negations, through brackets."""

import ast
from collections.abc import Iterator
from typing import NamedTuple

import lark

from sidecar.policy.cel.syntax import Tree, arguments, bare, children, path

_LITERALS = {"STRING_LIT", "INT_LIT"}


class ComparisonNode(NamedTuple):
    """`left operator right`; the operator is eq, ne, lt, le, gt, ge or in."""

    operator: str
    left: Tree
    right: Tree


def joined(tree: Tree, kind: str) -> list[Tree]:
    """Return the operands of `&&` (conditionaland), `||` (conditionalor) or `+` (addition)."""
    found: list[Tree] = []
    left = [tree]
    while left:
        tree = bare(left.pop())
        if is_operation(tree, kind):
            left += reversed(children(tree))
        elif tree.data == "addition_add":
            left += children(tree)
        else:
            found.append(tree)
    return found


def is_operation(tree: Tree, kind: str) -> bool:
    """Whether a node applies an operator of this kind, rather than only wrapping its operand."""
    return tree.data == kind and len(children(tree)) > 1


def negated(tree: Tree) -> Tree | None:
    """Return the operand of `!`, None if a node is something else."""
    if not is_operation(tree, "unary"):
        return None
    sign, operand = children(tree)
    return operand if sign.data == "unary_not" else None


def field_of(tree: Tree) -> tuple[str, str] | None:
    """Return variable and field of a plain field access such as `role.name`, else None."""
    match path(tree):
        case [variable, field]:
            return variable, field
    return None


def literal_of(tree: Tree) -> str | int | None:
    """Return the value of a string or integer literal, else None."""
    tree = bare(tree)
    token = tree.children[0] if tree.data == "literal" else None
    if not isinstance(token, lark.Token) or token.type not in _LITERALS:
        return None
    try:
        value = ast.literal_eval(str(token))  # CEL's portable literals are Python's
    except (ValueError, SyntaxError):
        return None
    return value if isinstance(value, str | int) else None


def call_of(tree: Tree) -> tuple[Tree, str] | None:
    """Return the receiver and name of a method call, else None."""
    tree = bare(tree)
    return (children(tree)[0], str(tree.children[1])) if tree.data == "member_dot_arg" else None


def items_of(tree: Tree) -> list[Tree]:
    """Return the items of a list literal, else none."""
    tree = bare(tree)
    return arguments(tree) if tree.data == "list_lit" else []


def comparisons(tree: Tree) -> Iterator[ComparisonNode]:
    """Yield every comparison in an expression."""
    for node in tree.iter_subtrees():
        if is_operation(node, "relation"):
            operator, right = children(node)
            yield ComparisonNode(
                operator.data.removeprefix("relation_"), children(operator)[0], right
            )
