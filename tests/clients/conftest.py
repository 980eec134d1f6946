"""Programs built once, the sidecars they share, and the table at the end."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from support import policies, tools
from support.mistral_standin import mistral_standin
from support.sidecar_process import RunningSidecar

from clients.languages import LANGUAGES, Program, build

KEYS = """\
  expired-key:
    name: Expired
    workspace: dev-workspace
    owner: dev-leads@example.com
    created: 2020-01-01
    expires: 2020-01-02
  slow-key:
    name: Slow
    workspace: dev-workspace
    owner: dev-leads@example.com
    allowed_models: [mistral-small]
    requests_per_minute: 1
    created: 2020-01-01
"""
"""Beside the shipped keys, for their dates are no test's to rely on."""

OUTCOMES = {"passed": "ok", "skipped": "-", "failed": "FAILED", "error": "FAILED"}


@pytest.fixture(scope="session", params=LANGUAGES, ids=lambda language: language.name)
def program(request: pytest.FixtureRequest) -> Program:
    """Each language's program in turn."""
    with tools.needed():
        return build(request.param)


@pytest.fixture(scope="session")
def shipped(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningSidecar]:
    """Start a sidecar on the shipped policies."""
    with_keys = policies.shipped(tmp_path_factory.mktemp("policies") / "p")
    with (with_keys / "keys.yaml").open("a") as file:
        file.write(KEYS)
    yield from _shared(tmp_path_factory, with_keys)


@pytest.fixture
def spent(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningSidecar]:
    """Start another sidecar, for a program that uses up budgets of all workspaces and of an hour."""
    # One call may use up a month.
    yield from _shared(tmp_path_factory, policies.SHIPPED, "--max-settled-tokens", "1000000000")


@pytest.fixture
def target(shipped: RunningSidecar, program: Program) -> str:
    """Where the program finds the first: on a Unix socket, if it can use one."""
    return shipped.addresses[1 if program.language.tcp_because else 0]


@pytest.fixture
def mistral() -> Iterator[str]:
    """Start a stand-in for Mistral."""
    with mistral_standin() as url:
        yield url


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print a Markdown table of languages and cases, and the missing tools."""
    cells: dict[tuple[int, str], dict[str, str]] = {}
    notes = {it.name: f"over TCP, {it.tcp_because}" for it in LANGUAGES if it.tcp_because}
    for kind, outcome in OUTCOMES.items():
        for report in terminalreporter.getreports(kind):
            if found := re.search(r"clients/cases/.*::test_(\w+)\[(\w+)-?(.*)\]", report.nodeid):
                case, language, detail = found.groups()
                row = f"{case.replace('_', ' ')} {detail}".strip()
                cells.setdefault((report.location[1], row), {})[language] = outcome
                if isinstance(report.longrepr, tuple):
                    notes[language] = report.longrepr[2].removeprefix("Skipped: ")
    if not cells:
        return
    names = sorted({name for passed in cells.values() for name in passed})
    rows = [["case", *names]]
    for (_, row), passed in sorted(cells.items()):
        rows.append([row, *(passed.get(name, "") for name in names)])
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    rows.insert(1, ["-" * width for width in widths])
    terminalreporter.section("languages", sep="-")
    for line in rows:
        padded = (cell.ljust(width) for cell, width in zip(line, widths, strict=True))
        terminalreporter.write_line(f"| {' | '.join(padded)} |")
    for name in names:
        if name in notes:
            terminalreporter.write_line(f"\n{name}: {notes[name]}")


def _shared(
    tmp_path_factory: pytest.TempPathFactory, directory: Path, *flags: str
) -> Iterator[RunningSidecar]:
    folder = tmp_path_factory.mktemp("sidecar")
    listen = ("--listen", f"unix:{folder}/s.sock", "--listen", "127.0.0.1:0", *flags)
    one = RunningSidecar(directory, folder / "ledger.sqlite", listen).start()
    yield one
    assert one.stop() == 0
