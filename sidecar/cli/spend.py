"""`sidecar spend`: what was spent on what, and when each budget runs out."""

import re
import time
from contextlib import closing
from dataclasses import asdict
from datetime import date, datetime, timedelta, tzinfo
from datetime import time as clock_time
from pathlib import Path
from typing import Annotated, Any

import typer

from sidecar.cli.options import Format, FormatOption, LedgerFile, TimeZoneOption, fail, zone_info
from sidecar.cli.tables import Table, cell, print_table
from sidecar.cli.terminal import say, say_json
from sidecar.domain.amounts import format_estimate, format_number
from sidecar.domain.clock import SECOND_US, to_datetime, to_us
from sidecar.domain.counted import counted
from sidecar.domain.forecast import METHOD, BudgetForecast
from sidecar.domain.retirement import Retirement
from sidecar.domain.spend_report import (
    COUNTED,
    RETIREMENTS,
    Dimension,
    Spend,
    SpendReport,
    grouped,
    sparkline,
)
from sidecar.domain.windows import Span, Window
from sidecar.ledger import ledger_file
from sidecar.ledger.long_read import long_read
from sidecar.ledger.protocol import LedgerRefusedError
from sidecar.ledger.reports import Reports
from sidecar.reports.page import page

EPILOG = f"{COUNTED} {METHOD}"

NOON = clock_time(12)
DAILY_AFTER = 5
"""The figures that stand before the marks of each day: up to the share of all cost."""

MAX_DAYS, MAX_MARKS, MAX_BUDGETS = 3660, 31, 20


def spend(
    ledger: LedgerFile,
    by: Annotated[
        str,
        typer.Option(
            metavar="NAMES",
            help=f"What to group spend by, separated by commas: {', '.join(Dimension)}.",
        ),
    ] = "workspace,model",
    since: Annotated[
        str,
        typer.Option(
            metavar="DAY",
            help="The first day, as 2026-11-24, or 7d for the last seven with today."
            " \\[default: the first of this month]",
        ),
    ] = "",
    until: Annotated[
        str, typer.Option(metavar="DAY", help="The last day. \\[default: today]")
    ] = "",
    time_zone: TimeZoneOption = "UTC",
    output: FormatOption = Format.TEXT,
    html: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="Also write an HTML page with plots: one file, no scripts."
        ),
    ] = None,
) -> None:
    """Show what was spent, and when each budget runs out at its recent pace.

    Works while a sidecar uses the ledger, too.

    Example: sidecar spend --ledger ledger.sqlite

    Example: sidecar spend --ledger ledger.sqlite --by principal,day --since 7d --html spend.html
    """
    zone, dimensions = zone_info(time_zone), _dimensions(by)
    try:
        # It is read to its end before the first line is printed: a pager may wait for hours.
        with (
            closing(ledger_file.open_reader(ledger)) as connection,
            long_read(connection, ledger),
        ):
            reports = Reports(connection, time.time_ns() // 1000, zone)
            report = reports.report(dimensions, _span(since, until, reports, zone))
            if html is not None:
                _write_page(html, report, reports)
    except LedgerRefusedError as error:
        raise fail(error) from None
    if output is Format.JSON:
        say_json(_as_json(report))
        return
    print_table(_spend_table(report))
    if report.retirements:
        print_table(_retirement_table(report))
    if report.forecasts:
        print_table(_budget_table(report))
    if len(report.forecasts) > MAX_BUDGETS:
        more = counted(len(report.forecasts) - MAX_BUDGETS, "more budget")
        say(f"{more}: --format json has all")


def _dimensions(by: str) -> list[Dimension]:
    try:
        found = [Dimension(name.strip()) for name in by.split(",")]
    except ValueError:
        raise fail(f"--by {by}: has to be some of {', '.join(Dimension)}", 2) from None
    return list(dict.fromkeys(found))


def _span(since: str, until: str, reports: Reports, zone: tzinfo) -> Span:
    """Return the span from the start of the first day to the end of the last one."""
    today = to_datetime(reports.at_us).astimezone(zone).date()
    last = min(today, _day("--until", until, today) if until else today)
    first = _day("--since", since, today) if since else last.replace(day=1)
    if first > last or (today - first).days >= MAX_DAYS:
        raise fail(
            f"{first} to {last}: is not a range of days, or begins {MAX_DAYS} days ago or more", 2
        )
    first_day, last_day = (
        reports.calendar.span(Window.DAY, to_us(datetime.combine(day, NOON, tzinfo=zone)))
        for day in (first, last)
    )
    return Span(first_day.start_us, last_day.end_us)


def _day(flag: str, text: str, today: date) -> date:
    if back := re.fullmatch(r"(\d{1,4})d", text):
        return today - timedelta(days=int(back[1]) - 1)
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise fail(f"{flag} {text}: is neither a day, as 2026-11-24, nor 7d", 2) from None


def _write_page(path: Path, report: SpendReport, reports: Reports) -> None:
    """Write the page; its bars are by the first dimension that counts each call once."""
    divides = (one for one in report.by if one not in {Dimension.RULE, Dimension.DAY})
    stack_by = next(divides, Dimension.WORKSPACE)
    stacks = reports.spend([stack_by], report.days)
    try:
        path.write_text(page(report, stack_by, stacks, reports.curves), encoding="utf-8")
    except OSError as error:
        raise fail(f"--html {path}: cannot be written: {error.strerror}") from None
    say(f"wrote {path}", err=True)


def _spend_table(report: SpendReport) -> Table:
    """Return a row for each division, and the total of all calls below."""
    days = f"{report.dates[0]} to {report.dates[-1]}"
    by = (dimension.value for dimension in report.by)
    table = Table(*by, title=f"Spend, {days} ({report.zone})")
    headings = report.total.headings()
    for heading in headings[:DAILY_AFTER]:
        table.add_column(heading, justify="right")
    table.add_column("by day", no_wrap=True)
    for heading in headings[DAILY_AFTER:]:
        table.add_column(heading, justify="right")
    for row in report.rows:
        table.add_row(*(name or "(none)" for name in row.names), *_cells(row, report))
    table.add_section()
    table.add_row("total", *[""] * (len(report.by) - 1), *_cells(report.total, report))
    return table


def _cells(row: Spend, report: SpendReport) -> tuple[str, ...]:
    figures, marks = row.figures(report.total), grouped(row.daily_cost_nano_usd, MAX_MARKS)
    return (*figures[:DAILY_AFTER], sparkline(marks), *figures[DAILY_AFTER:])


def _retirement_table(report: SpendReport) -> Table:
    """Return a row for each model that was spent on and retires."""
    table = Table(*report.retirement_headings, title=RETIREMENTS)
    for row in report.retirement_rows:
        table.add_row(*row)
    return table


def _budget_table(report: SpendReport) -> Table:
    table = Table("limit", "for", title="Budgets, as they are now")
    table.add_column("counts", no_wrap=True)
    for heading in ("ceiling", "spent", "held", "pace an hour"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column(f"runs out ({report.zone})", no_wrap=True)
    for forecast in report.forecasts[:MAX_BUDGETS]:
        verdict = forecast.verdict(report.zone)
        amounts = (forecast.ceiling, forecast.spent, forecast.held)
        table.add_row(
            forecast.limit.rule,
            forecast.limit.scope,
            forecast.counts,
            *(format_number(forecast.limit.meter, amount) for amount in amounts),
            format_estimate(forecast.limit.meter, forecast.hourly),
            cell(verdict, style="bold red" if forecast.falls_short else ""),
        )
    return table


def _as_json(report: SpendReport) -> dict[str, Any]:
    """Return the report for programs: money in nano-USD, times in ISO 8601 with their offset."""
    return {
        "at": _iso(report.at_us, report.zone),
        "time_zone": str(report.zone),
        "by": report.by,
        "days": report.dates,
        "rows": [dict(zip(report.by, row.names, strict=True)) | _sums(row) for row in report.rows],
        "total": _sums(report.total),
        "budgets": [_forecast(forecast, report.zone) for forecast in report.forecasts],
        "retirements": [_retirement(retirement, report.zone) for retirement in report.retirements],
        "method": METHOD,
    }


def _sums(row: Spend) -> dict[str, Any]:
    return {name: value for name, value in asdict(row).items() if name != "names"}


def _retirement(retirement: Retirement, zone: tzinfo) -> dict[str, Any]:
    return {
        "model": retirement.model_id,
        "retires_on": _iso(retirement.retires_us, zone),
        "replaced_by": retirement.replaced_by or None,
    }


def _forecast(forecast: BudgetForecast, zone: tzinfo) -> dict[str, Any]:
    runs_out_us, refused_at_us = forecast.exhausted_at_us, forecast.refused_at_us
    ends = forecast.limit.window is not Window.TOTAL
    return {
        "rule": forecast.limit.rule,
        "scope": forecast.limit.scope,
        "meter": forecast.limit.meter,
        "window": forecast.limit.window,
        "window_start": _iso(forecast.span.start_us, zone) if ends else None,
        "window_end": _iso(forecast.span.end_us, zone) if ends else None,
        "ceiling": forecast.ceiling,
        "spent": forecast.spent,
        "held": forecast.held,
        "remaining": forecast.left,
        "recently_charged": forecast.recent,
        "recent_seconds": forecast.recent_us // SECOND_US,
        "estimated_per_hour": forecast.hourly,
        "estimated_at_window_end": forecast.used_at(forecast.span.end_us) if ends else None,
        "estimated_exhaustion": None if runs_out_us is None else _iso(runs_out_us, zone),
        "last_refusal": None if refused_at_us is None else _iso(refused_at_us, zone),
    }


def _iso(at_us: int, zone: tzinfo) -> str:
    return to_datetime(at_us).astimezone(zone).isoformat()
