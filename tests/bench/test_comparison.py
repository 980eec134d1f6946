"""A comparison with another commit, which runs its own code."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from rich.progress import Progress
from support import tools

from bench import comparison, servers
from bench.comparison import Change, changes_table, compare
from bench.load import PAIR, UNARY
from bench.servers import StartError
from bench.sidecars import RevisionError, Sidecar, checkout
from sidecar.cli.tables import console


@pytest.fixture(autouse=True)
def _once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Start each server once, and only where there is a repository."""
    tools.program("git")
    monkeypatch.setattr(servers, "STARTS", 1)


def test_each_figure_is_measured_of_both(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same commit on both sides: each figure is there twice, with a ratio."""
    tools.program("h2load")
    monkeypatch.setattr(comparison, "LOADS", ((UNARY, 8), (PAIR, 1)))
    monkeypatch.setattr(comparison, "WRITING", ((UNARY, 8),))
    with Progress(disable=True) as shown:
        changes = compare("HEAD", 100, 1, tmp_path, shown)
    found = {(it.what, it.figure) for it in changes}
    assert found == {
        *((rpc, figure) for rpc in (UNARY, PAIR) for figure in comparison.FIGURES.values()),
        (UNARY, "WAL bytes"), (UNARY, "file bytes"), ("start", "s"), ("start", "MB idle"),
    }  # fmt: skip
    assert all(it.before > 0 and it.after > 0 for it in changes)
    assert all(it.lowest <= it.ratio <= it.highest for it in changes)


def test_the_other_commit_runs_its_own_code(tmp_path: Path) -> None:
    """Else the comparison would be of one version with itself."""
    root = checkout("HEAD", tmp_path / "checkout")
    (root / "sidecar" / "__main__.py").write_text("raise SystemExit('the code of the other')\n")
    error = pytest.raises(StartError, match=r"^other did not start: the code of the other$")
    with servers.stopped_at_end() as started, error:
        started.append(Sidecar("other", tmp_path / "other", root=root))


@pytest.mark.parametrize("name", ["no-such-commit", "--help", "HEAD:Makefile", ""])
def test_a_name_of_no_commit_is_refused(tmp_path: Path, name: str) -> None:
    """The error has the name; it is no option of git."""
    with pytest.raises(RevisionError, match=f"^no commit is named '{name}' here$"):
        checkout(name, tmp_path / "checkout")


def test_the_command_refuses_a_name_of_no_commit() -> None:
    """It says so, and measures nothing."""
    tools.program("h2load")
    done = subprocess.run(
        [sys.executable, "-m", "bench", "--against="],
        capture_output=True, text=True, check=False, cwd=tools.ROOT,
        env={**os.environ, "PYTHONPATH": f"{tools.ROOT}:{tools.ROOT / 'tests'}"},
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.strip() == "bench: no commit is named '' here"


def test_a_ratio_stands_beside_what_the_rounds_gave() -> None:
    """The reader sees whether a difference is more than noise."""
    measured = Change(UNARY, 64, "CPU µs/call", 600, 300, 0.5, 0.45, 0.61)
    once = Change("start", 0, "s", 0.5, 0.5, 1, 1, 1)
    screen = console()
    with screen.capture() as capture:
        screen.print(changes_table("v1.0", [measured, once]))
    rows = [line.split("│")[1:-1] for line in capture.get().splitlines() if "│" in line]
    first, second = ([cell.strip() for cell in row] for row in rows)
    assert first == [
        "Authorize", "64", "CPU µs/call", "600.00", "300.00", "0.50", "0.45 to 0.61",
    ]  # fmt: skip
    assert second == ["start", "", "s", "0.50", "0.50", "1.00", ""]
