"""What the import rules in pyproject.toml cannot say of how the code is laid out."""

import ast
from pathlib import Path

import pytest

import sidecar

ROOT = Path(sidecar.__file__).parent
GENERATED = {"v1", "envoy"}
MODULES = [p for p in ROOT.rglob("*.py") if p.relative_to(ROOT).parts[0] not in GENERATED]

# What may be imported by one folder, and by no other.
HOMES: dict[str, str | tuple[str, ...]] = {
    "grpc": "server",
    "grpc_health": "server",
    "grpc_reflection": "server",
    "sqlite3": "ledger",
    "sqlite_utils": "ledger",
    "celpy": "policy/cel",
    "re2": "policy/cel",
    "cel_expr_python": "policy/cel",
    "lark": ("policy", "policy_tools"),
    "yaml": "policy/files",
    "pydantic": ("policy/files", "policy_tools"),
    "httpx2": "web",
    "standardwebhooks": "alerts",
    "h11": "web",
    "asyncpg": "fleet",
    "jwt": "identity",
    "cryptography": ("identity", "policy/trust"),
    "typer": "cli",
    "rich": "cli",
    "markupsafe": "reports",
    "prometheus_client": "telemetry",
    "opentelemetry": "telemetry",
}
PURE = {
    "bisect", "collections", "contextlib", "dataclasses", "datetime", "decimal", "enum", "functools", "json",
    "math", "re", "typing",
}  # fmt: skip


def imports(path: Path) -> set[str]:
    """Return the full names of the modules that a file imports."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names.add(node.module or "")
    return names


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_each_outside_thing_lives_in_one_folder(path: Path) -> None:
    """SQL, CEL and the terminal are each named in exactly one place; gRPC on its two ends."""
    folder = path.relative_to(ROOT).parent
    foreign = {name.partition(".")[0] for name in imports(path)}
    for name in foreign & HOMES.keys():
        homes = HOMES[name]
        homes = (homes,) if isinstance(homes, str) else homes
        assert any(folder.is_relative_to(home) for home in homes), name


@pytest.mark.parametrize("path", sorted((ROOT / "domain").glob("*.py")), ids=lambda p: p.name)
def test_the_domain_does_no_io(path: Path) -> None:
    """The core imports itself and pure modules: no clock, no disk, no network."""
    outside = {name for name in imports(path) if not name.startswith("sidecar.domain")}
    assert set() == {name.partition(".")[0] for name in outside} - PURE


def test_modules_are_nouns_in_folders() -> None:
    """The top has only folders; no module name ends in -ing."""
    modules = [path.relative_to(ROOT) for path in MODULES]
    loose = {path.name for path in modules if len(path.parts) == 1}
    assert loose == {"__init__.py", "__main__.py"}
    nouns = {"logging", "sharing", "testing", "tracing"}
    names = {part.removesuffix(".py") for path in modules for part in path.parts}
    assert {name for name in names if name.endswith("ing")} <= nouns


WRITERS = {"terminal.py", "tables.py", "csv_rows.py", "entry.py"}
"""The modules of commands that write, each in a form in which no name acts on a terminal."""


@pytest.mark.parametrize(
    "path", sorted(set((ROOT / "cli").glob("*.py"))), ids=lambda path: str(path.name)
)
def test_commands_write_to_the_terminal_in_one_place(path: Path) -> None:
    """A name that a command writes by itself could be markup, or a control code."""
    if path.name in WRITERS:
        return
    calls = {ast.unparse(node.func) for node in ast.walk(ast.parse(path.read_text()))
             if isinstance(node, ast.Call)}  # fmt: skip
    by_itself = {"print", "typer.echo", "typer.secho", "sys.stdout.write", "sys.stderr.write"}
    assert calls & by_itself == set()
    assert {name for name in imports(path) if name.startswith("rich")} <= {"rich.progress"}
