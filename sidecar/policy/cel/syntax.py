"""Looking at the syntax tree of an expression."""

from collections.abc import Iterator

import lark

Tree = lark.Tree[lark.Token]


_WRAPPERS = {
    "expr", "conditionalor", "conditionaland", "relation", "addition", "multiplication", "unary",
    "member", "primary", "paren_expr",
}  # fmt: skip


def bare(node: Tree) -> Tree:
    """Go through brackets, and through nodes that only say what could have stood there."""
    while node.data in _WRAPPERS and len(node.children) == 1:
        (node,) = children(node)
    return node


def children(node: Tree) -> list[Tree]:
    """Return the children that are parts themselves."""
    return [child for child in node.children if isinstance(child, lark.Tree)]


def arguments(node: Tree) -> list[Tree]:
    """Return what stands between the brackets of a call, a list or a map."""
    lists = children(node)
    return children(lists[-1]) if lists and lists[-1].data in ("exprlist", "mapinits") else []


def is_literal(node: Tree) -> bool:
    """Whether a part is one word that is no name, and nothing else."""
    return bare(node).data == "literal"


def path(node: Tree) -> list[str]:
    """Return the names of `a.b.c`, and nothing for what is not just that."""
    node = bare(node)
    if node.data == "ident":
        return [str(node.children[0])]
    if node.data != "member_dot":
        return []
    before = path(children(node)[0])
    return [*before, str(node.children[1])] if before else []


def first_word(node: Tree) -> str:
    """Return the first word of a part; an empty list has none."""
    return str(next(_tokens(node), "[]"))


def words(node: Tree) -> str:
    """Return the words of a part run together; operators and brackets have none."""
    return "".join(str(token) for token in _tokens(node))


def _tokens(node: Tree) -> Iterator[lark.Token]:
    for child in node.children:
        if isinstance(child, lark.Token):
            yield child
        else:
            yield from _tokens(child)
