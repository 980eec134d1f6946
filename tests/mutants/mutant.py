"""Mutants: small changes of the source, each of which breaks one promise.

The place of a change is found by the name of a definition and a syntax pattern.
"""

import ast
import builtins
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from mutants.pattern import Match


class StaleError(Exception):
    """A mutant does not fit the source, which has changed; the mutant has to be adapted."""


class Package:
    """The modules of a folder, found by the names that they define, and its migrations in SQL."""

    def __init__(self, folder: Path) -> None:
        """Read all modules."""
        self.migrations = {path.stem: path for path in folder.rglob("migrations/*.sql")}
        self._texts = {path: path.read_text(encoding="utf-8") for path in folder.rglob("*.py")}
        self._paths: dict[str, set[Path]] = {}
        for path, text in self._texts.items():
            for name, _ in _scopes(ast.parse(text)):
                self._paths.setdefault(name, set()).add(path)

    def lines(self, path: Path, name: str) -> range:
        """Return the lines of a function in a module; none for what is run by an import alone.

        Such are constants, classes and, for the name "", a whole module; and it is not known
        which tests run a migration.
        """
        if path in self._texts:
            for scope_name, scope in _scopes(ast.parse(self._texts[path])):
                if scope_name == name and isinstance(scope, ast.FunctionDef | ast.AsyncFunctionDef):
                    return range(scope.lineno, (scope.end_lineno or scope.lineno) + 1)
        return range(0)

    def trees(self, name: str) -> Iterator[tuple[Path, ast.Module]]:
        """Yield the modules that define this name, parsed anew."""
        for path in self._paths.get(name, ()):
            yield path, ast.parse(self._texts[path])


@dataclass(frozen=True, slots=True)
class Mutant:
    """Replaces one expression, or a run of statements, that occurs exactly once in a definition.

    Files and formatting do not matter. A local variable may have another name in the source than
    in the pattern, if the names correspond one to one. `...` stands for any statements of a
    block, and for the other arguments of a call.
    """

    name: str
    promise: str
    breaks: str
    """How the mutant breaks the promise, in a sentence."""
    at: str
    """The function, class or constant, as "Balance.fits"; "" is anywhere."""
    old: str
    new: str
    """If empty, the statements are removed."""

    def apply(self, package: Package) -> tuple[Path, str]:
        """Return the path and the mutated text of the file to change. Raises StaleError."""
        changed, total = (Path(), ""), 0
        for path, tree in package.trees(self.at):
            scopes = [scope for name, scope in _scopes(tree) if name == self.at]
            if found := sum(self._change(tree, scope) for scope in scopes):
                changed = path, ast.unparse(ast.fix_missing_locations(tree))
                total += found
        if total != 1:
            raise StaleError(
                f"{self.name}: its pattern occurs {total} times in {self.at}, not once"
            )
        return changed

    def _change(self, tree: ast.Module, scope: ast.AST) -> int:
        """Mutate a scope that matches once; return the number of matches."""
        old, new = _parsed(self.old, self.new or "pass")
        known = module_names(tree)
        own = bound(scope) - known
        matches = []
        for run in _runs(scope, len(old)):
            match = Match(own, known | {"self"})
            if match.lists(old, run.nodes):
                matches.append((run, match))
        if len(matches) == 1:
            run, match = matches[0]
            changed = [match.filled(node) for node in new]
            loose = {n.id for node in changed for n in ast.walk(node) if isinstance(n, ast.Name)}
            loose -= known | bound(scope) | {name for node in changed for name in bound(node)}
            if loose:
                raise StaleError(f"{self.name}: {self.at} has no {', '.join(sorted(loose))}")
            run.replace(changed)
        return len(matches)


class TextMutant(Mutant):
    """Replaces a part of a string literal, such as an SQL statement, in one definition."""

    __slots__ = ()

    def _change(self, tree: ast.Module, scope: ast.AST) -> int:
        del tree
        found = 0
        for node in ast.walk(scope):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                found += node.value.count(self.old)
                node.value = node.value.replace(self.old, self.new)
        return found


class MigrationMutant(Mutant):
    """Replaces a part of a migration; `at` is its name."""

    __slots__ = ()

    def apply(self, package: Package) -> tuple[Path, str]:
        """See Mutant.apply."""
        path = package.migrations[self.at]
        text = path.read_text(encoding="utf-8")
        if (found := text.count(self.old)) != 1:
            raise StaleError(f"{self.name}: its text occurs {found} times in {self.at}, not once")
        return path, text.replace(self.old, self.new)


@dataclass(frozen=True, slots=True)
class _Run:
    """Neighbouring nodes, and the field of the syntax tree that holds them."""

    parent: ast.AST
    field: str
    start: int | None
    """The index in the field's list; None if the field has a single node."""
    nodes: list[ast.AST]

    def replace(self, nodes: list[ast.AST]) -> None:
        if self.start is None:
            setattr(self.parent, self.field, nodes[0])
        else:
            end = self.start + len(self.nodes)
            getattr(self.parent, self.field)[self.start : end] = nodes


def _runs(scope: ast.AST, length: int) -> Iterator[_Run]:
    """Yield every run of this many neighbouring nodes."""
    for parent in ast.walk(scope):
        for field, value in ast.iter_fields(parent):
            if isinstance(value, list):
                for start in range(len(value) - length + 1):
                    yield _Run(parent, field, start, value[start : start + length])
            elif isinstance(value, ast.AST) and length == 1:
                yield _Run(parent, field, None, [value])


def _parsed(*sources: str) -> list[list[ast.AST]]:
    """Parse each source as an expression if all are expressions, else as statements."""
    bodies = [ast.parse(source).body for source in sources]
    only = [body[0].value for body in bodies if len(body) == 1 and isinstance(body[0], ast.Expr)]
    return [[node] for node in only] if len(only) == len(bodies) else [[*body] for body in bodies]


def _scopes(tree: ast.Module) -> Iterator[tuple[str, ast.AST]]:
    yield "", tree
    yield from _definitions(tree)


def _definitions(node: ast.AST, prefix: str = "") -> Iterator[tuple[str, ast.AST]]:
    """Yield the definitions of a module or class: qualified names, and their nodes."""
    for child in getattr(node, "body", []):
        if isinstance(child, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            yield prefix + child.name, child
        else:
            yield from ((prefix + name, child) for name in sorted(bound(child)))
        if isinstance(child, ast.ClassDef):
            yield from _definitions(child, f"{prefix}{child.name}.")


def module_names(tree: ast.Module) -> set[str]:
    """Return the names that mean the same in the whole module: definitions, imports, builtins."""
    aliases = [node for node in ast.walk(tree) if isinstance(node, ast.alias)]
    imported = {alias.asname or alias.name.partition(".")[0] for alias in aliases}
    return {name for name, _ in _definitions(tree)} | imported | {*dir(builtins)}


def bound(scope: ast.AST) -> set[str]:
    """Return the variables, parameters and functions that a scope defines, at any depth."""
    names = set()
    for node in ast.walk(scope):
        if isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Load):
            names.add(node.id)
        elif isinstance(node, ast.arg):
            names.add(node.arg)
        elif isinstance(node, ast.ExceptHandler | ast.FunctionDef) and node is not scope:
            names.add(node.name or "")
    return names
