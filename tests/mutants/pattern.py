"""Patterns on syntax trees, in which local variables may have any names."""

import ast
import copy
from typing import Any


class Match:
    """One comparison of a pattern with nodes of the source, and what it has found."""

    def __init__(self, own: set[str], known: set[str]) -> None:
        """Take the scope's own variables, and the names that stand for themselves alone."""
        self._own, self._known = own, known
        self._names: dict[str, str] = {}
        self._rests: list[list[ast.AST]] = []

    def lists(self, old: list[Any], there: list[Any]) -> bool:
        """Tell whether a list of nodes matches; `...` in it matches any number of them."""
        at = next((at for at, node in enumerate(old) if is_rest(node)), None)
        if at is None:
            return len(old) == len(there) and all(map(self._same, old, there))
        end = len(there) - (len(old) - at - 1)
        if end < at or not self.lists(old[:at], there[:at]):
            return False
        self._rests.append(there[at:end])
        return self.lists(old[at + 1 :], there[end:])

    def filled(self, new: ast.AST) -> ast.AST:
        """Return a new node, in which names and `...` are those of the source."""
        filled: ast.AST = _Filled(self._names, [*self._rests]).visit(copy.deepcopy(new))
        return filled

    def _same(self, old: Any, there: Any) -> bool:
        if type(old) is not type(there):
            return False
        if isinstance(old, list):
            return self.lists(old, there)
        if isinstance(old, ast.Name | ast.arg):
            field = "id" if isinstance(old, ast.Name) else "arg"
            return self._same_name(getattr(old, field), getattr(there, field))
        if isinstance(old, ast.Call) and any(map(is_rest, old.args)):
            return self._same_call(old, there)
        if not isinstance(old, ast.AST):
            return bool(old == there)
        fields = old._fields
        return all(self._same(getattr(old, f, None), getattr(there, f, None)) for f in fields)

    def _same_call(self, old: ast.Call, there: ast.Call) -> bool:
        """Compare the arguments that the pattern names, and leave the others."""
        named = {keyword.arg for keyword in old.keywords}
        keywords = [keyword for keyword in there.keywords if keyword.arg in named]
        same = (
            self._same(old.func, there.func)
            and self.lists(old.args, there.args)
            and self.lists(old.keywords, keywords)
        )
        self._rests.append([keyword for keyword in there.keywords if keyword.arg not in named])
        return same

    def _same_name(self, old: str, there: str) -> bool:
        if old in self._known or there not in self._own:
            return old == there
        taken = there in self._names.values() and old not in self._names
        return not taken and self._names.setdefault(old, there) == there


class _Filled(ast.NodeTransformer):
    """Puts what a pattern has matched into the new code."""

    def __init__(self, names: dict[str, str], rests: list[list[ast.AST]]) -> None:
        self._names, self._rests = names, rests

    def visit_Name(self, node: ast.Name) -> ast.Name:
        node.id = self._names.get(node.id, node.id)
        return node

    def visit_arg(self, node: ast.arg) -> ast.arg:
        node.arg = self._names.get(node.arg, node.arg)
        return node

    def visit_Call(self, node: ast.Call) -> ast.Call:
        has_rest = any(map(is_rest, node.args))
        self.generic_visit(node)
        if has_rest:
            node.keywords += self._rests.pop(0)  # type: ignore[arg-type]
        return node

    def visit_Expr(self, node: ast.Expr) -> ast.AST | list[ast.AST]:
        return self._rests.pop(0) if is_rest(node) else self.generic_visit(node)

    def visit_Constant(self, node: ast.Constant) -> ast.AST | list[ast.AST]:
        return self._rests.pop(0) if is_rest(node) else node


def is_rest(node: Any) -> bool:
    """Tell whether a node is `...`."""
    node = node.value if isinstance(node, ast.Expr) else node
    return isinstance(node, ast.Constant) and node.value is ...
