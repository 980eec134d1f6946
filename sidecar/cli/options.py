"""Options that several commands share."""

from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Annotated
from zoneinfo import ZoneInfo

import typer

from sidecar.domain.clock import MAX_YEAR, MIN_YEAR, to_us
from sidecar.domain.share import Share


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


def _moment(text: str) -> int:
    """Read a time with its zone, as microseconds."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        moment = None
    if moment is None or moment.tzinfo is None:
        raise typer.BadParameter("give a time with its zone, as in 2026-11-10T12:00:00Z")
    if not MIN_YEAR <= moment.year <= MAX_YEAR:
        raise typer.BadParameter(f"is not between the years {MIN_YEAR} and {MAX_YEAR}")
    return to_us(moment)


MomentOption = Annotated[
    int | None,
    typer.Option(
        "--at",
        metavar="TIME",
        parser=_moment,
        help="As of which moment, with its zone, as in 2026-11-10T12:00:00Z; now if left out.",
    ),
]


def _share(text: object) -> Share:
    """Read a share, or the default as the command line has it."""
    try:
        return Share.read(str(text))
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None


ShareOption = Annotated[
    Share,
    typer.Option(
        "--share",
        envvar="SIDECAR_SHARE",
        metavar="K/N",
        parser=_share,
        help="How much of every ceiling this sidecar may give: 1/5 in each of 5 pods.",
    ),
]


def zone_info(name: str) -> ZoneInfo:
    """Return a time zone, or print that there is none and exit 2."""
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        raise fail(f"--time-zone {name}: no such zone; try Europe/Paris", 2) from None


def fail(message: object, code: int = 1) -> typer.Exit:
    """Print an error for people and return the exit to raise."""
    typer.echo(f"sidecar: {message}", err=True)
    return typer.Exit(code)
