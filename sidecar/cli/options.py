"""Options that several commands share."""

from dataclasses import replace
from enum import StrEnum
from pathlib import Path
from typing import Annotated
from zoneinfo import ZoneInfo

import typer

from sidecar.policy import policy_set
from sidecar.policy.files.problems import PolicyError, Problem, printable
from sidecar.policy.policy_set import PolicySet


class Format(StrEnum):
    """How a command prints its result."""

    TEXT = "text"
    JSON = "json"


class EngineName(StrEnum):
    """Which evaluator of CEL runs the rules."""

    CEL_CPP = "cel-cpp"
    CEL_PYTHON = "cel-python"


LedgerFile = Annotated[
    Path,
    typer.Option("--ledger", envvar="SIDECAR_LEDGER", metavar="FILE", help="The ledger's file."),
]
EngineOption = Annotated[
    EngineName,
    typer.Option(
        "--engine",
        envvar="SIDECAR_ENGINE",
        help="Which evaluator runs the rules; cel-python where cel-cpp has no wheel.",
    ),
]
FormatOption = Annotated[
    Format, typer.Option("--format", envvar="SIDECAR_FORMAT", help="How to print the result.")
]
TimeZoneOption = Annotated[
    str,
    typer.Option(envvar="SIDECAR_TIME_ZONE", help="Where hours, days and months begin and end."),
]


def zone_info(name: str) -> ZoneInfo:
    """Return a time zone, or print that there is none and exit 2."""
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        raise fail(f"--time-zone {name}: no such zone; try Europe/Paris", 2) from None


def in_directory(directory: Path, problem: Problem) -> Problem:
    """Name a problem's file as an editor can open it."""
    if problem.file == printable(str(directory)):
        return problem
    return replace(problem, file=str(directory / problem.file))


def load_policies(directory: Path, engine: str) -> PolicySet:
    """Load a policy directory, or print all that is wrong and exit 1."""
    try:
        return policy_set.load(directory, engine)
    except PolicyError as error:
        problems = (str(in_directory(directory, problem)) for problem in error.problems)
        raise fail("\n".join(problems)) from None


def fail(message: object, code: int = 1) -> typer.Exit:
    """Print an error for people and return the exit to raise."""
    typer.echo(f"sidecar: {message}", err=True)
    return typer.Exit(code)
