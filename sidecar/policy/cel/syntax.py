"""Helpers for the syntax trees of expressions."""

from collections.abc import Iterator

import lark

from sidecar.policy.cel.engine import CelError

Tree = lark.Tree[lark.Token]


_WRAPPERS = {
    "expr", "conditionalor", "conditionaland", "relation", "addition", "multiplication", "unary",
    "member", "primary", "paren_expr",
}  # fmt: skip


def bare(node: Tree) -> Tree:
    """Strip brackets, and nodes of the grammar that only wrap one other."""
    while node.data in _WRAPPERS and len(node.children) == 1:
        (node,) = children(node)
    return node


def children(node: Tree) -> list[Tree]:
    """Return the children that are trees."""
    return [child for child in node.children if isinstance(child, lark.Tree)]


def arguments(node: Tree) -> list[Tree]:
    """Return the arguments of a call, or the items of a list or map."""
    lists = children(node)
    return children(lists[-1]) if lists and lists[-1].data in ("exprlist", "mapinits") else []


def is_literal(node: Tree) -> bool:
    """Whether a part is a literal."""
    return bare(node).data == "literal"


def path(node: Tree) -> list[str]:
    """Return the names of `a.b.c`, empty for any other part."""
    node = bare(node)
    if node.data == "ident":
        return [str(node.children[0])]
    if node.data != "member_dot":
        return []
    before = path(children(node)[0])
    return [*before, str(node.children[1])] if before else []


def is_name(node: Tree, name: str) -> bool:
    """Whether a part is this identifier."""
    return node.data == "ident" and str(node.children[0]) == name


def first_word(node: Tree) -> str:
    """Return the first token of a part; an empty list has none."""
    return str(next(_tokens(node), "[]"))


def words(node: Tree) -> str:
    """Return a part's tokens, concatenated; operators and brackets are not tokens."""
    return "".join(str(token) for token in _tokens(node))


def _tokens(node: Tree) -> Iterator[lark.Token]:
    for child in node.children:
        if isinstance(child, lark.Token):
            yield child
        else:
            yield from _tokens(child)


def place(node: Tree | lark.Token) -> tuple[int, int]:
    """Return the line and column where a part begins."""
    at = node if isinstance(node, lark.Token) else node.meta
    return at.line or 0, at.column or 0


def not_portable(node: Tree | lark.Token, hint: str) -> CelError:
    """Return the error for a part that the engines may evaluate differently."""
    word = node if isinstance(node, lark.Token) else first_word(node)
    return CelError(f"'{word}' is not portable between the evaluators", *place(node), hint)
