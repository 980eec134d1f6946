"""`sidecar spend` of a whole fleet, from its books."""

from collections.abc import Sequence
from pathlib import Path

from sidecar.cli.fleet_books import ask_books, need_driver
from sidecar.cli.options import fail, zone_info
from sidecar.cli.spend_options import Asked
from sidecar.domain.forecast import BudgetForecast, Point
from sidecar.domain.spend_report import Dimension, Spend, SpendReport


def read(url_file: Path, asked: Asked, time_zone: str) -> tuple[SpendReport, Sequence[Spend]]:
    """Return the report, and the layers of the page's bars; or print why not and exit."""
    if {Dimension.RULE, Dimension.PRINCIPAL} <= set(asked.by):
        raise fail(
            "--by: the fleet's books have no spend by rule and principal; each sidecar's ledger has"
            " its own",
            2,
        )
    need_driver("--fleet-url-file")
    from sidecar.fleet import spend_report  # noqa: PLC0415 - needs the driver

    now_us, name = ask_books(url_file, spend_report.fleet_time(url_file))
    if time_zone not in ("", name):
        raise fail(
            f"--time-zone {time_zone}: the fleet's days are those of {name}; leave it out", 2
        )
    zone = zone_info(name)
    span = asked.span(now_us, zone)
    reading = spend_report.read_spend(url_file, asked.by, asked.stack_by, span, zone)
    found = ask_books(url_file, reading)
    return found.report, found.stacks


def curves(forecasts: Sequence[BudgetForecast]) -> Sequence[Sequence[Point]]:
    """Return what is known of the growth of budgets: the books keep what is spent now."""
    return [(Point(one.span.start_us, 0), Point(one.at_us, one.spent)) for one in forecasts]
