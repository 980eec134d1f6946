"""Run the tests on every installed version of Python, and name the missing ones.

Each version has an environment of its own in build/versions, made as `.venv` is.
"""

import argparse
import os
import re
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from rich.table import Table

from sidecar.cli.tables import console
from versions.interpreters import VERSIONS, Interpreter, candidates, find

ROOT = Path(__file__).parents[2]

HERE = f"{sys.version_info.major}.{sys.version_info.minor}"
"""The version that runs this, and all tests in `make test`."""

FAST = ("-m", "not property", "tests/domain", "tests/policy", "tests/ledger",
        "tests/cli/test_commands.py", "tests/server/test_contract.py",
        "tests/client/test_circuit.py")  # fmt: skip
"""What `--fast` runs: the core, each engine, the ledger, commands, the contract, and a client."""

LEFT_OUT = ("VIRTUAL_ENV", "PYTHONPATH", "PYTHONHOME", "MAKEFLAGS", "MAKELEVEL", "MFLAGS")
"""Of this process, and not of the version that is tried."""


class Outcome(NamedTuple):
    """The result of the tests on one version."""

    version: str
    python: str
    summary: str
    is_good: bool
    seconds: float


def chosen(found: dict[str, Interpreter], *, fast: bool) -> list[Interpreter]:
    """Return those to try: all; or the oldest and the newest, but not the one of `make test`."""
    all_of_them = list(found.values())
    ends = dict.fromkeys((all_of_them[0], all_of_them[-1]))
    return [end for end in ends if end.version != HERE] if fast else all_of_them


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the tests on each version; return 1 if any failed, or none is here."""
    parser = argparse.ArgumentParser(prog="versions", description=__doc__)
    parser.add_argument(
        "--fast", action="store_true", help="a part, on the oldest and the newest; not on this one"
    )
    parser.add_argument("--jobs", default="auto", help="tests at once")
    options = parser.parse_args(arguments)
    found = find(candidates())
    if not found:
        sys.stderr.write(f"none of Python {', '.join(VERSIONS)} is here\n")
        return 1
    outcomes = [
        run(one, [*(FAST if options.fast else ()), "-n", options.jobs, "--dist", "worksteal"])
        for one in chosen(found, fast=options.fast)
    ]
    console().print(table(outcomes, found))
    return 0 if all(outcome.is_good for outcome in outcomes) else 1


def run(one: Interpreter, words: Sequence[str]) -> Outcome:
    """Make the version's environment, and run the tests in it."""
    console().rule(f"Python {'.'.join(map(str, one.patch))}")
    started, venv = time.monotonic(), f"build/versions/{one.version}"
    env = {name: value for name, value in os.environ.items() if name not in LEFT_OUT}
    ready = ["make", f"VENV={venv}", f"PYTHON={one.path}", f"{venv}/ready"]
    done = subprocess.run(ready, cwd=ROOT, env=env, check=False)  # noqa: S603 - our own target
    summary, is_good = "cannot be set up", False
    if done.returncode == 0:
        command = [f"{venv}/bin/python", "-m", "pytest", "-q", *words]
        is_good, last = followed(command, env)
        summary = re.sub(r" in [\d.]+s.*", "", last)
    seconds = time.monotonic() - started
    return Outcome(one.version, str(one.path), summary, is_good, seconds)


def followed(command: list[str], env: dict[str, str]) -> tuple[bool, str]:
    """Run a command, show what it says, and return whether it went well and its last line."""
    last = ""
    with subprocess.Popen(  # noqa: S603 - pytest
        command, cwd=ROOT, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            sys.stdout.write(line)
            sys.stdout.flush()
            last = line.strip(" =\n") or last
    return process.returncode == 0, last


def table(outcomes: Sequence[Outcome], found: dict[str, Interpreter]) -> Table:
    """Return a row for each version: what its tests said, or that it is not here."""
    shown = Table("Python", "interpreter", "tests", "seconds")
    by_version = {outcome.version: outcome for outcome in outcomes}
    for version in VERSIONS:
        if outcome := by_version.get(version):
            seconds = f"{outcome.seconds:.0f}"
            shown.add_row(version, outcome.python, outcome.summary, seconds)
        elif version in found:
            why = "`make test` runs all" if version == HERE else "not run: between the two ends"
            shown.add_row(version, str(found[version].path), why, "")
        else:
            shown.add_row(version, "missing", "not run", "")
    return shown


if __name__ == "__main__":
    sys.exit(main())
