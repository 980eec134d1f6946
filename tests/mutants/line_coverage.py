"""Which plain tests run a line of the source: only these can notice that it is mutated."""

import os
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

from coverage import CoverageData


class CoveringTests:
    """The tests of one run, by the lines that each has run in its own process, fixtures included."""

    def __init__(self, root: Path, arguments: Iterable[str], folder: Path) -> None:
        """Run the tests once with coverage. Raises RuntimeError if one fails."""
        file = folder / "coverage"
        path = os.pathsep.join((str(root), str(root / "tests"), str(Path(__file__).parents[1])))
        run = [sys.executable, "-m", "coverage", "run", "--source=sidecar", f"--data-file={file}"]
        plugins = ["-p", "no:cacheprovider", "-p", "mutants.coverage_contexts"]
        done = subprocess.run(  # noqa: S603 - pytest
            [*run, "-m", "pytest", "-q", *plugins, *arguments],
            cwd=root, env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True,
            check=False,
        )  # fmt: skip
        if done.returncode:
            raise RuntimeError(f"fails without any mutant:\n{done.stdout}{done.stderr}")
        self._root = root
        self._data = CoverageData(str(file))
        self._data.read()

    def of(self, file: Path, lines: range) -> list[str]:
        """Return the ids of the tests that have run any of these lines of a file.

        Those in the file's own module of tests come first.
        """
        by_line = self._data.contexts_by_lineno(str(self._root / file))
        names = {name for line in lines for name in by_line.get(line, ())} - {""}
        own = f"test_{file.stem}.py"
        return sorted(names, key=lambda test: (own not in test, test))
