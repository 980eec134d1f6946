"""`sidecar fleet prune`: delete what is old from a fleet's books."""

import re
from typing import Annotated
from zoneinfo import ZoneInfo

import typer

from sidecar.cli.fleet_books import FleetUrlFile, ask_books, need_driver
from sidecar.cli.options import Format, FormatOption, fail
from sidecar.cli.terminal import say, say_json
from sidecar.domain.clock import format_date
from sidecar.domain.counted import counted

MIN_DAYS = 2
"""Calls of a window that has just ended are still settled."""
MAX_DAYS = 36_500

_KINDS = {
    "budgets": "budget",
    "shares": "share",
    "adjustments": "adjustment",
    "signatures": "signature",
    "alerts": "alert",
    "spend": "spend row",
    "holders": "holder",
}


def prune(
    fleet_url_file: FleetUrlFile,
    keep: Annotated[
        str,
        typer.Option(metavar="DAYS", help="Keep what ended in so many days before today."),
    ] = "400d",
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Count what would be deleted, and delete nothing.")
    ] = False,
    output: FormatOption = Format.TEXT,
) -> None:
    """Delete what is old from a fleet's books.

    That is budgets whose windows have ended, with their shares, adjustments and alerts; spend of
    days; and holders that have nothing left. Nothing of a window that is open, of a total, or of a
    limit of a minute or at one time. The URL is of the role that made the tables: sidecars may not
    delete. It may run at any time, and be ended at any time.

    Example: sidecar fleet prune --fleet-url-file owner.url --keep 100d --dry-run
    """
    days = _days(keep)
    need_driver()
    from sidecar.fleet import prune as fleet_prune  # noqa: PLC0415 - needs the driver
    from sidecar.fleet.spend_report import fleet_time  # noqa: PLC0415

    time = ask_books(fleet_url_file, fleet_time(fleet_url_file))
    before_us = fleet_prune.first_kept_us(time, days)
    work = fleet_prune.planned if dry_run else fleet_prune.prune
    gone = ask_books(fleet_url_file, work(fleet_url_file, before_us))._asdict()
    before = format_date(before_us, ZoneInfo(time.time_zone))
    if output is Format.JSON:
        say_json(
            {"before": before, "time_zone": time.time_zone, "dry_run": dry_run, "deleted": gone}
        )
        return
    rows = [counted(number, _KINDS[kind]) for kind, number in gone.items() if number]
    verb = "would be deleted" if dry_run else "deleted"
    say(f"of before {before} ({time.time_zone}): {', '.join(rows) or 'nothing'} {verb}")


def _days(keep: str) -> int:
    found = re.fullmatch(r"(\d{1,6})d", keep)
    if found is None or not MIN_DAYS <= int(found[1]) <= MAX_DAYS:
        raise fail(f"--keep {keep}: has to be a number of days, from {MIN_DAYS}d to {MAX_DAYS}d", 2)
    return int(found[1])
