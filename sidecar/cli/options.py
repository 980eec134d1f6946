"""Options that several commands share."""

import functools
from collections.abc import Callable
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any
from zoneinfo import ZoneInfo

import typer

from sidecar.cli.terminal import say, say_all
from sidecar.domain.clock import MAX_YEAR, MIN_YEAR, to_us
from sidecar.domain.flags import Flag
from sidecar.domain.share import Share
from sidecar.runtime.shared_flags import ENGINE, LEDGER, SHARE, TIME_ZONE, EngineName


class Format(StrEnum):
    """How a command prints its result."""

    TEXT = "text"
    JSON = "json"


def option(flag: Flag, panel: str | None = None, more: str = "") -> Any:
    """Return typer's declaration of an option; `more` is added at the end of its help."""
    return typer.Option(
        flag.name,
        envvar=flag.variable,
        metavar=flag.metavar,
        help=flag.help + more,
        min=flag.min,
        max=flag.max,
        parser=None if flag.parse is None else functools.partial(_parsed, flag.parse),
        rich_help_panel=panel,
    )


def _parsed(parse: Callable[[str], Any], text: object) -> Any:
    """Parse the value of an option, or its default."""
    try:
        return parse(str(text))
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None


LedgerFile = Annotated[Path, option(LEDGER)]
EngineOption = Annotated[EngineName, option(ENGINE)]
ShareOption = Annotated[Share, option(SHARE)]
TimeZoneOption = Annotated[str, option(TIME_ZONE)]
FormatOption = Annotated[
    Format, typer.Option("--format", envvar="SIDECAR_FORMAT", help="The output format.")
]


def _moment(text: str) -> int:
    """Parse a time with its zone; return microseconds since the epoch."""
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
        help="The time to use instead of now, with its zone, as in 2026-11-10T12:00:00Z.",
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
    say(f"sidecar: {message}", err=True)
    return typer.Exit(code)


def fail_all(text: str, code: int = 1) -> typer.Exit:
    """Print errors of several lines, in which names are escaped already; return the exit."""
    say_all(f"sidecar: {text}", err=True)
    return typer.Exit(code)
