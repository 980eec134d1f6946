"""Every mutant fits the source. `make mutants` runs the tests on each."""

import ast
import itertools
import shutil
import sqlite3
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

import sidecar
from mutants.catalogue import ALL
from mutants.likely import LIKELY
from mutants.mutant import MigrationMutant, Mutant, Package, bound, module_names

SIDECAR = Path(sidecar.__file__).parent
MIGRATIONS = [mutant for mutant in ALL if isinstance(mutant, MigrationMutant)]


@pytest.fixture(scope="module")
def package() -> Package:
    """Read the package once."""
    return Package(SIDECAR)


@pytest.mark.parametrize("mutant", ALL, ids=lambda mutant: mutant.name)
def test_each_mutant_changes_the_source_in_one_place(mutant: Mutant, package: Package) -> None:
    """Its pattern occurs exactly once, and the replacement changes the program."""
    path, mutated = mutant.apply(package)
    before = path.read_text(encoding="utf-8")
    if path.suffix == ".py":
        before, mutated = (ast.dump(ast.parse(text)) for text in (before, mutated))
    assert mutated != before


@pytest.mark.parametrize("mutant", MIGRATIONS, ids=lambda mutant: mutant.name)
def test_a_mutant_of_a_migration_is_not_undone_by_a_later_one(
    mutant: Mutant, package: Package
) -> None:
    """What a new ledger has is another schema; of an upgrade, the data that it moves."""
    changed, text = mutant.apply(package)
    migrations = {path: path.read_text(encoding="utf-8") for path in package.migrations.values()}

    def schema_of(texts: Mapping[Path, str]) -> list[Any]:
        with closing(sqlite3.connect(":memory:")) as connection:
            for path in sorted(texts):
                connection.executescript(texts[path])
            return connection.execute("SELECT sql FROM sqlite_schema ORDER BY name").fetchall()

    is_of_data = mutant.name.startswith("upgrade-")
    assert (schema_of(migrations) == schema_of({**migrations, changed: text})) == is_of_data


def test_renamed_variables_and_moved_code_keep_the_mutants(tmp_path: Path) -> None:
    """Every mutant still applies if each local variable and each module gets another name."""
    for number, path in enumerate(SIDECAR.rglob("*.py")):
        tree = with_variables_renamed(path.read_text(encoding="utf-8"))
        (tmp_path / f"file_{number}.py").write_text(ast.unparse(tree), encoding="utf-8")
    shutil.copytree(SIDECAR / "ledger" / "migrations", tmp_path / "migrations")
    renamed = Package(tmp_path)
    for mutant in ALL:
        mutant.apply(renamed)


def test_a_likely_test_is_that_of_a_mutant() -> None:
    """Both are there by this name."""
    root = SIDECAR.parent
    for name, test in LIKELY.items():
        file, _, function = test.partition("::")
        assert name in {mutant.name for mutant in ALL}
        assert f"def {function}" in (root / file).read_text(encoding="utf-8"), test


def test_every_promise_has_several_mutants() -> None:
    """Each promise has at least two mutants; names are unique."""
    promises = [mutant.promise for mutant in ALL]
    kept = [
        *(f"L{number}" for number in range(1, 10)),
        "A1",
        "A2",
        "D1",
        "U1",
        "F1",
        "R1",
        "K1",
        "K2",
        "K3",
    ]
    assert all(promises.count(promise) > 1 for promise in kept)
    assert len({mutant.name for mutant in ALL}) == len(ALL)


def with_variables_renamed(source: str) -> ast.Module:
    """Parse a module, and rename the local variables of its functions to v0, v1 and so on."""
    tree = ast.parse(source)
    known = module_names(tree)
    classes = [node for node in tree.body if isinstance(node, ast.ClassDef)]
    for node in itertools.chain(tree.body, *(owner.body for owner in classes)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            VariableRenamer(bound(node) - known - {"self"}).visit(node)
    return tree


class VariableRenamer(ast.NodeTransformer):
    """Renames variables to v0, v1 and so on."""

    def __init__(self, local: set[str]) -> None:
        """Rename these variables."""
        self._local = local
        self._names: dict[str, str] = {}

    def visit(self, node: ast.AST) -> ast.AST:
        """Rename a variable where it is assigned, used, a parameter, an exception or nonlocal."""
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
