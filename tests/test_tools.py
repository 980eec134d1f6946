"""Missing tools of tests: named and skipped, or in CI a failure."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from support import tools

TESTS = Path(__file__).parent
CI = tools.ROOT / ".ci" / "run"
ESSENTIAL = ("bash", "cat", "dirname", "env", "mktemp", "rm", "sh", "tail", "timeout", "touch")

NEEDY = """\
from support import tools

def test_program(): tools.program("h2load")
def test_other(): tools.program("no-such-program")
def test_again(): tools.program("no-such-program")
def test_package(): tools.package("kubernetes_validate")
def test_machine(): tools.cannot("it has no wings")
"""


def run_needy(folder: Path, ci: str) -> str:
    """Run tests that need missing tools; return the end of pytest's output."""
    (folder / "conftest.py").write_text("from support.tools import pytest_terminal_summary\n")
    (folder / "test_needy.py").write_text(NEEDY)
    (folder / "kubernetes_validate.py").write_text("raise ModuleNotFoundError\n")
    done = subprocess.run(  # noqa: S603 - our own tests
        [sys.executable, "-m", "pytest", "-q", "--rootdir", str(folder), str(folder)],
        cwd=folder, capture_output=True, text=True, check=False, timeout=60,
        env={"PATH": str(folder), "PYTHONPATH": f"{TESTS}:{folder}", "CI": ci},
    )  # fmt: skip
    return done.stdout + done.stderr


def test_a_test_is_skipped_with_the_name_of_what_is_missing(tmp_path: Path) -> None:
    """On a newcomer's machine nothing fails; the end says what was skipped, and why."""
    output = run_needy(tmp_path, "")
    assert re.search(r"5 skipped in ", output), output
    for line in (
        "1  missing: h2load (nghttp2-client)",
        "2  missing: no-such-program",
        "1  missing: kubernetes_validate (make deploy-tools)",
        "1  not on this machine: it has no wings",
    ):
        assert line in output


def test_in_ci_what_is_missing_is_a_failure(tmp_path: Path) -> None:
    """What CI has to install is no reason to skip; what the machine cannot do still is."""
    output = run_needy(tmp_path, "true")
    assert re.search(r"4 failed, 1 skipped in ", output), output
    assert "missing, though CI has to install it: h2load (nghttp2-client)" in output
    assert "1  not on this machine: it has no wings" in output


def test_one_module_decides_about_skipping() -> None:
    """A test that skips by itself would also be skipped in CI, unnoticed."""
    own = re.compile(r"pytest\.(?:skip|importorskip|mark\.skip\w*)\b|shutil\.which\b")
    found = {
        str(path.relative_to(TESTS))
        for path in TESTS.rglob("*.py")
        if path not in {Path(tools.__file__), Path(__file__)} and own.search(path.read_text())
    }
    assert found == set()


def test_ci_installs_whatever_a_test_may_need() -> None:
    """Each source of a program or a module is in .ci/run."""
    script = CI.read_text()
    sources = {*tools.PROGRAMS.values(), *tools.PACKAGES.values()}
    missing = {name for name in sources if not re.search(rf"(?<![\w-]){name}(?![\w-])", script)}
    assert missing == set()


@pytest.mark.parametrize(
    ("user", "apt_get", "expected"),
    [
        ("0", "exit 100", "cannot be installed: "),
        ("1000", "exit 0", "missing, and only root can install them: "),
        ("0", "exit 0", "missing, though everything was installed: "),
    ],
)
def test_ci_stops_where_something_cannot_be_installed(
    user: str, apt_get: str, expected: str, tmp_path: Path
) -> None:
    """It fails with the name, and runs no test without it."""
    programs = {"id": f"echo {user}", "apt-get": apt_get, "make": f"touch {tmp_path}/made"}
    for name in ESSENTIAL:
        (tmp_path / name).symlink_to(tools.require(name))
    for name, script in programs.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{script}\n")
        (tmp_path / name).chmod(0o755)
    done = subprocess.run(  # noqa: S603 - our own program
        [str(tmp_path / "bash"), str(CI)],
        env={**os.environ, "PATH": str(tmp_path)},
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert done.returncode == 1, done.stdout + done.stderr
    assert expected in done.stderr
    assert "nghttp2-client" in done.stderr or "h2load" in done.stderr
    assert not (tmp_path / "made").exists()
