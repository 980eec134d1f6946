"""Apply each mutant to a copy of the source, and report the first test that fails.

The tests most likely to fail run first: those that run the mutated lines, or all tests of keys, of
what fits and of retirements for the promises about these. Then come all fast tests of the ledger,
its property tests, tests with real sidecars, and all others. Each core runs one mutant at a time.
"""

import argparse
import os
import queue
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import NamedTuple

import pytest
from rich.progress import track
from rich.table import Table

from mutants.catalogue import ALL
from mutants.likely import LIKELY
from mutants.line_coverage import CoveringTests
from mutants.mutant import Mutant, Package
from sidecar.cli.tables import cell, console

ROOT = Path(__file__).parents[2]
LEDGER = (
    "tests/ledger",
    "tests/domain",
    "tests/alerts",
    "tests/authorization/test_alert_thresholds.py",
    "tests/authorization/test_authorizer.py",
    "tests/authorization/test_retirement_alerts.py",
    "tests/runtime/test_maintenance.py",
)
PLAIN = (*LEDGER, "-m", "not property")
IN_PARALLEL = ("-n", "auto", "--dist", "worksteal")
STAGES: tuple[tuple[str, ...], ...] = (
    PLAIN,
    (*LEDGER, "-m", "property"),
    ("tests/server", "tests/crashes", *IN_PARALLEL),
    (
        "tests",
        *(f"--ignore={done}" for done in (*LEDGER, "tests/server", "tests/crashes")),
        *IN_PARALLEL,
    ),
)
TESTS_OF = {
    "F": ("tests/authorization/test_alternatives.py",),
    "K": ("tests/keys", "tests/cli/test_keys.py"),
    "R": ("tests/policy/test_retirement.py", "tests/ledger/test_reports.py"),
}
"""The tests most likely to fail, by the first letter of the promise."""

STAGE_SECONDS = 1800
FEW = 5
"""So many mutants are tried without finding out which tests run their lines."""
_FAILED = (pytest.ExitCode.TESTS_FAILED, pytest.ExitCode.INTERRUPTED)
"""What pytest -x returns when a test fails: in one process, and in several."""

TIMED_OUT = "the tests did not end"


class Copy:
    """A copy of the source, in which one file at a time is mutated."""

    def __init__(self, folder: Path, covering: CoveringTests | None = None) -> None:
        """Copy the repository without caches and build results."""
        self._covering = covering
        self._root = folder / "copy"
        ignored = shutil.ignore_patterns(".git", ".venv", ".*_cache", ".hypothesis", "build",
                                         "node_modules", "__pycache__", "*.egg-info")  # fmt: skip
        shutil.copytree(ROOT, self._root, ignore=ignored)
        self._package = Package(self._root / "sidecar")

    def killer(self, mutant: Mutant | None) -> str:
        """Return the first test that fails with the mutant, "" if all pass."""
        if mutant is None:
            return self._first_failure(STAGES)
        file, mutated = mutant.apply(self._package)
        before = file.read_text(encoding="utf-8")
        file.write_text(mutated, encoding="utf-8")
        likely = [(LIKELY[mutant.name],)] if mutant.name in LIKELY else []
        try:
            return self._first_failure([*likely, *self._stages(mutant, file)])
        finally:
            file.write_text(before, encoding="utf-8")

    def _stages(self, mutant: Mutant, file: Path) -> Sequence[tuple[str, ...]]:
        """Return the arguments of each stage, the tests most likely to fail first.

        Of the fast tests, only those that run the mutated lines can fail; of lines that are run by
        imports alone, such as constants, any can, and those of the file's own module come first.
        """
        if tests := TESTS_OF.get(mutant.promise[0]):
            return (tests, *STAGES)
        covering: list[str] = []
        if self._covering is not None:
            lines = self._package.lines(file, mutant.at)
            covering = self._covering.of(file.relative_to(self._root), lines)
        if covering:
            return (tuple(covering), *STAGES[1:])
        own = (
            str(test.relative_to(self._root))
            for test in self._root.glob(f"tests/**/test_{file.stem}.py")
        )
        return (*((test,) for test in own), *STAGES)

    def _first_failure(self, stages: Sequence[tuple[str, ...]]) -> str:
        return next(filter(None, map(self._stage, stages)), "")

    def _stage(self, arguments: tuple[str, ...]) -> str:
        try:
            done = self._pytest(arguments)
        except subprocess.TimeoutExpired:
            return TIMED_OUT
        if done.returncode in (pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED):
            return ""
        failed = re.search(
            r"^(?:FAILED|ERROR) (\S+?(?:\[.*?\])?)(?: - |$)", done.stdout, re.MULTILINE
        )
        if done.returncode not in _FAILED or failed is None:
            raise RuntimeError(f"the tests did not run:\n{done.stdout}{done.stderr}")
        if IN_PARALLEL[0] in arguments and self._pytest((failed[1],)).returncode == 0:
            # A test with real processes may fail by chance on a busy machine; then it does not count.
            return self._stage((*arguments, f"--deselect={failed[1]}"))
        return failed[1]

    def _pytest(self, arguments: tuple[str, ...]) -> "subprocess.CompletedProcess[str]":
        command = [sys.executable, "-m", "pytest", "-x", "-q", "-rfE", "--tb=no", "--no-header"]
        # These compare texts: they notice each change of mutants or of SQL, whatever it breaks.
        # The copy is no checkout, which the benchmark's tests need.
        ignored = [f"--ignore=tests/{one}" for one in ("mutants", "bench", "ledger/test_schema.py")]
        path = os.pathsep.join((str(self._root), str(self._root / "tests")))
        return subprocess.run(  # noqa: S603
            [*command, "-p", "no:cacheprovider", *ignored, *arguments],
            cwd=self._root, env={**os.environ, "PYTHONPATH": path}, timeout=STAGE_SECONDS,
            capture_output=True, text=True, check=False,
        )  # fmt: skip


class Result(NamedTuple):
    """The result of one mutant."""

    mutant: Mutant
    killer: str
    """The first test that failed; "" if none did."""
    seconds: float


def results(mutants: Sequence[Mutant], folder: Path) -> Iterator[Result]:
    """Try each mutant, and yield the results as they come.

    Raises RuntimeError if tests do not run, or fail without a mutant.
    """
    covering = None
    if len(mutants) > FEW:
        console().print("running the fast tests once, to see which lines each runs")
        covering = CoveringTests(ROOT, PLAIN, folder)
    cores = os.cpu_count() or 1
    copies: queue.SimpleQueue[Copy] = queue.SimpleQueue()
    for number in range(min(cores, len(mutants))):
        copies.put(Copy(folder / str(number), covering))

    def run(mutant: Mutant) -> Result:
        copy = copies.get()
        started = time.monotonic()
        try:
            return Result(mutant, copy.killer(mutant), time.monotonic() - started)
        finally:
            copies.put(copy)

    with ThreadPoolExecutor(cores) as pool:
        try:
            for done in as_completed([pool.submit(run, mutant) for mutant in mutants]):
                yield done.result()
        finally:  # an error ends the whole run, and not after all other mutants
            pool.shutdown(wait=False, cancel_futures=True)


def main() -> int:
    """Run the chosen mutants; return 1 if one survives, 2 if the tests fail on the unchanged source."""
    parser = argparse.ArgumentParser(prog="mutants", description=__doc__)
    parser.add_argument("names", nargs="*", help="only these mutants")
    names = set(parser.parse_args().names)
    chosen = [mutant for mutant in ALL if not names or mutant.name in names]
    table = Table(title="Mutants, and the first test that fails", title_justify="left")
    for heading in ("mutant", "promise", "failed test", "seconds"):
        table.add_column(heading, overflow="fold")
    with tempfile.TemporaryDirectory() as folder:
        if not names and (broken := Copy(Path(folder) / "unchanged").killer(None)):
            console().print(f"fails on the unchanged source: {broken}", markup=False)
            return 2
        ended = []
        for result in track(
            results(chosen, Path(folder)), "mutants", total=len(chosen), console=console()
        ):
            ended.append(result)
            noticed = result.killer or "NO TEST"
            console().print(f"{result.mutant.name}: {noticed}", markup=False, highlight=False)
    ended.sort(key=lambda result: chosen.index(result.mutant))
    for mutant, killer, seconds in ended:
        shown = cell(killer) if killer else cell(f"no test: {mutant.breaks}", style="bold red")
        table.add_row(mutant.name, mutant.promise, shown, f"{seconds:.0f}")
    survivors = sum(not result.killer for result in ended)
    console().print(table)
    console().print(f"{len(ended)} mutants, {survivors} survivors")
    return 1 if survivors else 0


sys.exit(main())
