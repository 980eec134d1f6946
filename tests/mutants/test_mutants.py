"""The list of mutants keeps up with the source. `make mutants` runs the tests on each."""

import ast
import itertools
from pathlib import Path

import pytest

import sidecar
from mutants.catalogue import ALL
from mutants.mutant import Mutant, Package, bound, module_names

SIDECAR = Path(sidecar.__file__).parent


@pytest.fixture(scope="module")
def package() -> Package:
    """Read the package once."""
    return Package(SIDECAR)


@pytest.mark.parametrize("mutant", ALL, ids=lambda mutant: mutant.name)
def test_each_mutant_changes_the_source_in_one_place(mutant: Mutant, package: Package) -> None:
    """What it replaces is there exactly once; what it leaves is another program."""
    path, mutated = mutant.apply(package)
    before = ast.parse(path.read_text(encoding="utf-8"))
    assert ast.dump(ast.parse(mutated)) != ast.dump(before)


def test_renamed_variables_and_moved_code_keep_the_mutants(tmp_path: Path) -> None:
    """Each applies where every local variable and every file has another name."""
    for number, path in enumerate(SIDECAR.rglob("*.py")):
        tree = with_other_names(path.read_text(encoding="utf-8"))
        (tmp_path / f"file_{number}.py").write_text(ast.unparse(tree), encoding="utf-8")
    renamed = Package(tmp_path)
    for mutant in ALL:
        mutant.apply(renamed)


def test_every_promise_has_several_mutants() -> None:
    """L1 to L9, A1, A2, U1 and K1 to K3 are each broken in several ways; no two mutants share a name."""
    promises = [mutant.promise for mutant in ALL]
    kept = [*(f"L{number}" for number in range(1, 10)), "A1", "A2", "U1", "K1", "K2", "K3"]
    assert all(promises.count(promise) > 1 for promise in kept)
    assert len({mutant.name for mutant in ALL}) == len(ALL)


def with_other_names(source: str) -> ast.Module:
    """Parse a module, and number the local variables of its functions."""
    tree = ast.parse(source)
    known = module_names(tree)
    classes = [node for node in tree.body if isinstance(node, ast.ClassDef)]
    for node in itertools.chain(tree.body, *(owner.body for owner in classes)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            Numbered(bound(node) - known - {"self"}).visit(node)
    return tree


class Numbered(ast.NodeTransformer):
    """Gives variables other names."""

    def __init__(self, local: set[str]) -> None:
        """Take the variables."""
        self._local = local
        self._names: dict[str, str] = {}

    def visit(self, node: ast.AST) -> ast.AST:
        """Rename it where it is assigned, used, a parameter, an exception or nonlocal."""
        for field, value in ast.iter_fields(node):
            if field in {"id", "arg", "name"} and not isinstance(node, ast.keyword):
                setattr(node, field, self._other(value))
            elif field == "names" and isinstance(node, ast.Nonlocal):
                node.names = [self._other(name) for name in value]
        return self.generic_visit(node)

    def _other(self, name: str) -> str:
        if name not in self._local:
            return name
        return self._names.setdefault(name, f"v{len(self._names)}")
