"""What `sidecar spend` is asked for: whose spend, by what, and of which days."""

import re
from collections.abc import Sequence
from datetime import date, datetime, timedelta, tzinfo
from datetime import time as clock_time
from pathlib import Path
from typing import NamedTuple

import typer

from sidecar.cli.options import fail
from sidecar.domain.clock import to_datetime, to_us
from sidecar.domain.spend_report import Dimension
from sidecar.domain.windows import Calendar, Span, Window

NOON = clock_time(12)
MAX_DAYS = 3660


class Asked(NamedTuple):
    """What spend is divided by, and its days as they were given."""

    by: Sequence[Dimension]
    since: str
    until: str

    @staticmethod
    def read(by: str, since: str, until: str) -> "Asked":
        """Read the options; exit 2 for an unknown dimension."""
        try:
            found = [Dimension(name.strip()) for name in by.split(",")]
        except ValueError:
            raise fail(f"--by {by}: has to be some of {', '.join(Dimension)}", 2) from None
        return Asked(list(dict.fromkeys(found)), since, until)

    @property
    def stack_by(self) -> Dimension:
        """What the bars of the page are divided by: the first that counts each call once."""
        divides = (one for one in self.by if one not in {Dimension.RULE, Dimension.DAY})
        return next(divides, Dimension.WORKSPACE)

    def span(self, at_us: int, zone: tzinfo) -> Span:
        """Return the span from the start of the first day to the end of the last one."""
        today, calendar = to_datetime(at_us).astimezone(zone).date(), Calendar(zone)
        last = min(today, _day("--until", self.until, today) if self.until else today)
        first = _day("--since", self.since, today) if self.since else last.replace(day=1)
        if first > last or (today - first).days >= MAX_DAYS:
            raise fail(
                f"{first} to {last}: is not a range of days, or begins {MAX_DAYS} days ago or more",
                2,
            )
        first_day, last_day = (
            calendar.span(Window.DAY, to_us(datetime.combine(day, NOON, tzinfo=zone)))
            for day in (first, last)
        )
        return Span(first_day.start_us, last_day.end_us)


def given_source(
    context: typer.Context, ledger: Path | None, fleet_url_file: Path | None
) -> tuple[Path, bool]:
    """Return the ledger, or the file with the URL and True; exit 2 for both or none.

    The command line wins over the environment, in which a sidecar of a fleet has both.
    """
    given = {"ledger": ledger, "fleet_url_file": fleet_url_file}
    files = {name: file for name, file in given.items() if file is not None}
    said = {name: file for name, file in files.items() if not _is_of_environment(context, name)}
    match list((said or files).items()):
        case [(name, file)]:
            return file, name == "fleet_url_file"
        case []:
            raise fail("give --ledger FILE, or --fleet-url-file FILE for a whole fleet", 2)
    raise fail(
        "--ledger is for one sidecar's spend, and --fleet-url-file for a whole fleet's: give one of"
        " them",
        2,
    )


def _is_of_environment(context: typer.Context, name: str) -> bool:
    source = context.get_parameter_source(name)
    return source is not None and source.name == "ENVIRONMENT"


def _day(flag: str, text: str, today: date) -> date:
    if back := re.fullmatch(r"(\d{1,4})d", text):
        return today - timedelta(days=int(back[1]) - 1)
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise fail(f"{flag} {text}: is neither a day, as 2026-11-24, nor 7d", 2) from None
