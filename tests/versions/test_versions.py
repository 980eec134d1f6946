"""The choice of interpreters for the suite, and the report of missing ones."""

import re
import sys
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console
from support import tools

from versions.__main__ import FAST, HERE, Outcome, chosen, table
from versions.interpreters import VERSIONS, Interpreter, candidates, find


def made_up(*versions: str) -> dict[str, Interpreter]:
    """Return interpreters that are never started."""
    return {it: Interpreter(it, (3, int(it[2:]), 1), Path(f"/x/python{it}")) for it in versions}


def test_only_working_interpreters_are_candidates(tmp_path: Path) -> None:
    """This one is found, by what it says and not by its name; a broken shim is passed over."""
    shim, pypy = tmp_path / "shim", tmp_path / "pypy"
    shim.write_text("#!/bin/sh\necho 'version is not installed' >&2\nexit 127\n")
    pypy.write_text("#!/bin/sh\necho PyPy 3.11.9\n")
    for file in (shim, pypy):
        file.chmod(0o755)
    found = find([shim, pypy, tmp_path / "none", Path(sys.executable)])
    assert [(it.version, it.patch) for it in found.values()] == [(HERE, sys.version_info[:3])]


def test_the_running_interpreter_is_a_candidate() -> None:
    """Any interpreter that can run the tests is used."""
    assert HERE in find([*candidates(), Path(sys.executable)])


def test_fast_runs_only_the_oldest_and_the_newest_version(monkeypatch: pytest.MonkeyPatch) -> None:
    """But not for the version of `make test`, which runs all tests; without it, every version."""
    monkeypatch.setattr("versions.__main__.HERE", "3.13")
    found = made_up("3.11", "3.12", "3.14")
    assert [it.version for it in chosen(found, fast=True)] == ["3.11", "3.14"]
    assert [it.version for it in chosen(found, fast=False)] == ["3.11", "3.12", "3.14"]
    assert chosen(made_up("3.13"), fast=True) == []
    monkeypatch.setattr("versions.__main__.HERE", "3.11")
    assert [it.version for it in chosen(found, fast=True)] == ["3.14"]
    assert all((tools.ROOT / word).exists() for word in FAST if word.startswith("tests/"))


def test_each_version_has_a_row_and_what_is_missing_is_named(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """With what ran, what was not needed, and what this machine lacks."""
    monkeypatch.setattr("versions.__main__.HERE", "3.11")
    outcomes = [
        Outcome("3.11", "/x/python3.11", "9 passed", is_good=True, seconds=1),
        Outcome("3.13", "/x/python3.13", "1 failed, 8 passed", is_good=False, seconds=2),
    ]
    paper = StringIO()
    console = Console(width=120, file=paper)
    console.print(table(outcomes, made_up("3.11", "3.12", "3.13")))
    output = re.sub(r"[^\S\n]+", " ", re.sub("[│┃]", " ", paper.getvalue()))
    for row in (
        " 3.11 /x/python3.11 9 passed 1 ",
        " 3.12 /x/python3.12 not run: between the two ends ",
        " 3.13 /x/python3.13 1 failed, 8 passed 2 ",
        " 3.14 missing not run ",
    ):
        assert row in output


def test_the_versions_match_requires_python() -> None:
    """From the oldest that pyproject.toml allows on, without a gap."""
    (oldest,) = re.findall(
        r'requires-python = ">=3\.(\d+)"', (tools.ROOT / "pyproject.toml").read_text()
    )
    assert tuple(f"3.{minor}" for minor in range(int(oldest), int(oldest) + 4)) == VERSIONS
