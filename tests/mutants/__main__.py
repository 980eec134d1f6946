"""Apply each mutant to a copy of the source, and name the test that notices.

The plain tests of the ledger come first, since they are fast and say most, or those of keys
for what is promised of keys; then the property tests, real sidecars, and at last everything.
"""

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from rich.progress import track
from rich.table import Table

from mutants.catalogue import ALL
from mutants.mutant import Mutant, Package
from sidecar.cli.tables import console

ROOT = Path(__file__).parents[2]
LEDGER = (
    "tests/ledger",
    "tests/domain",
    "tests/alerts",
    "tests/authorization/test_alert_thresholds.py",
    "tests/authorization/test_authorizer.py",
    "tests/runtime/test_maintenance.py",
)
STAGES: tuple[tuple[str, ...], ...] = (
    (*LEDGER, "-m", "not property"),
    (*LEDGER, "-m", "property"),
    ("tests/server", "tests/crashes"),
    ("tests", *(f"--ignore={done}" for done in (*LEDGER, "tests/server", "tests/crashes"))),
)
KEYS = ("tests/keys", "tests/cli/test_keys.py")
STAGE_SECONDS = 300
NOT_ENDED = "it did not end"


class Copy:
    """A copy of the source, in which one file at a time is mutated."""

    def __init__(self, folder: Path) -> None:
        """Copy what the tests need."""
        self._root = folder / "copy"
        ignored = shutil.ignore_patterns(".*", "build", "__pycache__", "*.egg-info")
        shutil.copytree(ROOT, self._root, ignore=ignored)
        self._package = Package(self._root / "sidecar")

    def killer(self, mutant: Mutant | None) -> str:
        """Return the first test that fails with the mutant, "" when all pass."""
        if mutant is None:
            return self._first_failure()
        file, mutated = mutant.apply(self._package)
        before = file.read_text(encoding="utf-8")
        file.write_text(mutated, encoding="utf-8")
        try:
            return self._first_failure(keys_first=mutant.promise.startswith("K"))
        finally:
            file.write_text(before, encoding="utf-8")

    def _first_failure(self, *, keys_first: bool = False) -> str:
        stages = (KEYS, *STAGES) if keys_first else STAGES
        return next(filter(None, map(self._stage, stages)), "")

    def _stage(self, arguments: tuple[str, ...]) -> str:
        try:
            done = self._pytest(arguments)
        except subprocess.TimeoutExpired:
            return NOT_ENDED
        if done.returncode == 0:
            return ""
        failed = re.search(
            r"^(?:FAILED|ERROR) (\S+?(?:\[.*?\])?)(?: - |$)", done.stdout, re.MULTILINE
        )
        if done.returncode != 1 or failed is None:
            raise RuntimeError(f"the tests did not run:\n{done.stdout}{done.stderr}")
        if arguments != STAGES[0] and self._pytest((failed[1],)).returncode == 0:
            # Real processes on a busy machine: what fails by chance notices nothing.
            return self._stage((*arguments, f"--deselect={failed[1]}"))
        return failed[1]

    def _pytest(self, arguments: tuple[str, ...]) -> "subprocess.CompletedProcess[str]":
        command = [sys.executable, "-m", "pytest", "-x", "-q", "-rfE", "--tb=no", "--no-header"]
        path = os.pathsep.join((str(self._root), str(self._root / "tests")))
        return subprocess.run(  # noqa: S603
            [*command, "-p", "no:cacheprovider", "--ignore=tests/mutants", *arguments],
            cwd=self._root, env={**os.environ, "PYTHONPATH": path}, timeout=STAGE_SECONDS,
            capture_output=True, text=True, check=False,
        )  # fmt: skip


def main() -> int:
    """Run the chosen mutants; return 1 if one survives, 2 if the tests fail without any."""
    parser = argparse.ArgumentParser(prog="mutants", description=__doc__)
    parser.add_argument("names", nargs="*", help="only these mutants")
    names = set(parser.parse_args().names)
    chosen = [mutant for mutant in ALL if not names or mutant.name in names]
    table = Table(title="Mutants and the tests that notice", title_justify="left")
    for heading in ("mutant", "promise", "noticed by", "seconds"):
        table.add_column(heading, overflow="fold")
    survivors = 0
    with tempfile.TemporaryDirectory() as folder:
        copy = Copy(Path(folder))
        if not names and (broken := copy.killer(None)):
            console().print(f"fails without any mutant: {broken}", markup=False)
            return 2
        for mutant in track(chosen, "mutants", console=console()):
            started = time.monotonic()
            killer = copy.killer(mutant)
            survivors += not killer
            shown = killer.replace("[", r"\[") or f"[bold red]no test[/]: {mutant.breaks}"
            seconds = f"{time.monotonic() - started:.0f}"
            table.add_row(mutant.name, mutant.promise, shown, seconds)
    console().print(table)
    console().print(f"{len(chosen)} mutants, {survivors} survivors")
    return 1 if survivors else 0


sys.exit(main())
