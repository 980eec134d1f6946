"""The way the code is laid out, held by the code itself."""

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


def test_data_flows_one_way() -> None:
    """Server → authorizer → policy, ledger, reports → domain; never back."""
    allowed = {
        "alerts": {"domain", "ledger.protocol", "web"},
        "authorization": {"domain", "ledger.protocol", "policy"},
        "contract": {"authorization", "domain"},
        "domain": set(),
        "identity": {"domain", "policy.cel", "policy.files.problems", "web"},
        "keys": {"domain", "ledger.key_store", "ledger.protocol", "policy.catalogue", "web"},
        "ledger": {"domain"},
        "policy": {"domain"},
        "policy/cel": {"domain", "policy.files.problems"},
        "policy/files": {"domain"},
        "policy_tools": {"authorization", "contract", "domain", "ledger.sqlite", "policy"},
        "reports": {"domain"},
        "server": {
            "authorization",
            "contract",
            "domain",
            "envoy",
            "identity",
            "ledger.protocol",
            "web",
        },
        "telemetry": {"alerts.counts", "authorization", "domain", "ledger.protocol", "web"},
        "web": set(),
    }
    for folder, may in allowed.items():
        for path in (ROOT / folder).rglob("*.py"):
            for name in imports(path):
                if name.startswith("sidecar."):
                    inner = name.removeprefix("sidecar.")
                    may_also = {folder.replace("/", "."), "v1", *may}
                    assert any(inner == m or inner.startswith(f"{m}.") for m in may_also), (
                        path,
                        name,
                    )
