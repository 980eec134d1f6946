"""Patterns on syntax trees, whose local variables may have other names than the source's."""

import ast
import copy
from typing import Any


class Match:
    """The match of one pattern with nodes of the source: the names and the parts that `...` covers."""

    def __init__(self, own: set[str], known: set[str]) -> None:
        """Use the scope's local variables, and the names that must be equal in pattern and source."""
        self._own, self._known = own, known
        self._names: dict[str, str] = {}
        self._rests: list[list[ast.AST]] = []

    def lists(self, pattern: list[Any], actual: list[Any]) -> bool:
        """Whether a list of nodes matches; `...` in the pattern matches any number of them."""
        at = next((at for at, node in enumerate(pattern) if is_rest(node)), None)
        if at is None:
            return len(pattern) == len(actual) and all(map(self._same, pattern, actual))
        end = len(actual) - (len(pattern) - at - 1)
        if end < at or not self.lists(pattern[:at], actual[:at]):
            return False
        self._rests.append(actual[at:end])
        return self.lists(pattern[at + 1 :], actual[end:])

    def filled(self, new: ast.AST) -> ast.AST:
        """Return the replacement with the names of the source, and the parts that `...` covers."""
        filled: ast.AST = _Filled(self._names, [*self._rests]).visit(copy.deepcopy(new))
        return filled

    def _same(self, pattern: Any, actual: Any) -> bool:
        if type(pattern) is not type(actual):
            return False
        if isinstance(pattern, list):
            return self.lists(pattern, actual)
        if isinstance(pattern, ast.Name | ast.arg):
            field = "id" if isinstance(pattern, ast.Name) else "arg"
            return self._same_name(getattr(pattern, field), getattr(actual, field))
        if isinstance(pattern, ast.Call) and any(map(is_rest, pattern.args)):
            return self._same_call(pattern, actual)
        if not isinstance(pattern, ast.AST):
            return bool(pattern == actual)
        fields = pattern._fields
        return all(self._same(getattr(pattern, f, None), getattr(actual, f, None)) for f in fields)

    def _same_call(self, pattern: ast.Call, actual: ast.Call) -> bool:
        """Compare the arguments in the pattern, and ignore the others."""
        named = {keyword.arg for keyword in pattern.keywords}
        keywords = [keyword for keyword in actual.keywords if keyword.arg in named]
        same = (
            self._same(pattern.func, actual.func)
            and self.lists(pattern.args, actual.args)
            and self.lists(pattern.keywords, keywords)
        )
        self._rests.append([keyword for keyword in actual.keywords if keyword.arg not in named])
        return same

    def _same_name(self, pattern: str, actual: str) -> bool:
        if pattern in self._known or actual not in self._own:
            return pattern == actual
        taken = actual in self._names.values() and pattern not in self._names
        return not taken and self._names.setdefault(pattern, actual) == actual


class _Filled(ast.NodeTransformer):
    """Inserts what a pattern has matched into the replacement."""

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
    """Whether a node is `...`."""
    node = node.value if isinstance(node, ast.Expr) else node
    return isinstance(node, ast.Constant) and node.value is ...
