"""`sidecar spend`: what was spent on what, and when each budget runs out."""

import time
from contextlib import closing
from dataclasses import asdict
from datetime import tzinfo
from pathlib import Path
from typing import Annotated, Any

import typer

from sidecar.cli.options import Format, FormatOption, fail, option, zone_info
from sidecar.cli.spend_options import Asked, given_source
from sidecar.cli.tables import Table, cell, print_table
from sidecar.cli.terminal import say, say_json
from sidecar.domain.amounts import format_number
from sidecar.domain.clock import SECOND_US, to_datetime
from sidecar.domain.counted import counted
from sidecar.domain.forecast import METHOD, BudgetForecast
from sidecar.domain.money import format_usd
from sidecar.domain.retirement import Retirement
from sidecar.domain.spend_report import (
    COUNTED,
    RETIREMENTS,
    Dimension,
    Spend,
    SpendReport,
    Unaccounted,
    grouped,
    sparkline,
)
from sidecar.domain.windows import Window
from sidecar.ledger import ledger_file
from sidecar.ledger.long_read import long_read
from sidecar.ledger.protocol import LedgerRefusedError
from sidecar.ledger.reports import Reports
from sidecar.reports.page import page
from sidecar.runtime.shared_flags import FLEET_URL_FILE, LEDGER, TIME_ZONE

EPILOG = f"{COUNTED} {METHOD}"

DAILY_AFTER = 5
"""The figures that stand before the marks of each day: up to the share of all cost."""

MAX_MARKS, MAX_BUDGETS = 31, 20


def spend(
    context: typer.Context,
    ledger: Annotated[Path | None, option(LEDGER)] = None,
    fleet_url_file: Annotated[Path | None, option(FLEET_URL_FILE)] = None,
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
    time_zone: Annotated[
        str, option(TIME_ZONE, more=" \\[default: UTC, or that of the fleet]")
    ] = "",
    output: FormatOption = Format.TEXT,
    html: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="Also write an HTML page with plots: one file, no scripts."
        ),
    ] = None,
) -> None:
    """Show what was spent, and when each budget runs out at its recent pace.

    Of one ledger, also while a sidecar uses it; or of a whole fleet, from its books.

    Example: sidecar spend --ledger ledger.sqlite

    Example: sidecar spend --ledger ledger.sqlite --by principal,day --since 7d --html spend.html

    Example: sidecar spend --fleet-url-file fleet.url
    """
    asked = Asked.read(by, since, until)
    file, is_fleet = given_source(context, ledger, fleet_url_file)
    if is_fleet:
        report = _of_fleet(file, asked, time_zone, html)
    else:
        report = _of_ledger(file, asked, time_zone or "UTC", html)
    if output is Format.JSON:
        say_json(_as_json(report))
        return
    print_table(_spend_table(report))
    if report.unaccounted is not None:
        say(_unaccounted_line(report.unaccounted))
    if report.retirements:
        print_table(_retirement_table(report))
    if report.forecasts:
        print_table(_budget_table(report))
    if len(report.forecasts) > MAX_BUDGETS:
        more = counted(len(report.forecasts) - MAX_BUDGETS, "more budget")
        say(f"{more}: --format json has all")


def _of_ledger(ledger: Path, asked: Asked, time_zone: str, html: Path | None) -> SpendReport:
    """Read a ledger, and write the page."""
    zone = zone_info(time_zone)
    try:
        # It is read to its end before the first line is printed: a pager may wait for hours.
        with (
            closing(ledger_file.open_reader(ledger)) as connection,
            long_read(connection, ledger),
        ):
            reports = Reports(connection, time.time_ns() // 1000, zone)
            report = reports.report(asked.by, asked.span(reports.at_us, zone))
            if html is not None:
                stacks = reports.spend([asked.stack_by], report.days)
                _write_page(html, page(report, asked.stack_by, stacks, reports.curves))
            return report
    except LedgerRefusedError as error:
        raise fail(error) from None


def _of_fleet(url_file: Path, asked: Asked, time_zone: str, html: Path | None) -> SpendReport:
    """Read a fleet's books, and write the page."""
    from sidecar.cli import fleet_spend  # noqa: PLC0415 - loads asyncio

    report, stacks = fleet_spend.read(url_file, asked, time_zone)
    if html is not None:
        text = page(report, asked.stack_by, stacks, fleet_spend.curves)
        _write_page(html, text)
    return report


def _write_page(path: Path, text: str) -> None:
    try:
        path.write_text(text, encoding="utf-8")
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


def _unaccounted_line(found: Unaccounted) -> str:
    """Return a line on what no sidecar has reported."""
    line = f"unaccounted: ${format_usd(found.total_nano_usd)}"
    parts = []
    if found.gone_nano_usd:
        gone = counted(found.gone, "gone sidecar")
        parts.append(f"${format_usd(found.gone_nano_usd)} of {gone}")
    if found.live_nano_usd:
        parts.append(f"${format_usd(found.live_nano_usd)} of live sidecars, which report it soon")
    return f"{line} ({', '.join(parts)})" if parts else line


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
            forecast.pace,
            cell(verdict, style="bold red" if forecast.falls_short else ""),
        )
    return table


def _as_json(report: SpendReport) -> dict[str, Any]:
    """Return the report for programs: money in nano-USD, times in ISO 8601 with their offset."""
    found = {
        "at": _iso(report.at_us, report.zone),
        "time_zone": str(report.zone),
        "by": report.by,
        "days": report.dates,
        "rows": [dict(zip(report.by, row.names, strict=True)) | _sums(row) for row in report.rows],
        "total": _sums(report.total),
        "budgets": [_forecast(forecast, report.zone) for forecast in report.forecasts],
        "retirements": [_retirement(retirement, report.zone) for retirement in report.retirements],
        "method": report.method,
    }
    if report.unaccounted is not None:
        found["unaccounted"] = {
            "cost_nano_usd": report.unaccounted.total_nano_usd,
            "live_cost_nano_usd": report.unaccounted.live_nano_usd,
            "gone_cost_nano_usd": report.unaccounted.gone_nano_usd,
            "gone_holders": report.unaccounted.gone,
        }
    return found


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
    ends, has_pace = forecast.limit.window is not Window.TOTAL, forecast.has_pace
    at_end = forecast.used_at(forecast.span.end_us)
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
        "recently_charged": forecast.recent if has_pace else None,
        "recent_seconds": forecast.recent_us // SECOND_US if has_pace else None,
        "estimated_per_hour": forecast.hourly if has_pace else None,
        "estimated_at_window_end": at_end if ends and has_pace else None,
        "estimated_exhaustion": None if runs_out_us is None else _iso(runs_out_us, zone),
        "last_refusal": None if refused_at_us is None else _iso(refused_at_us, zone),
    }


def _iso(at_us: int, zone: tzinfo) -> str:
    return to_datetime(at_us).astimezone(zone).isoformat()
