"""The page of `sidecar spend --html`: one self-contained file without scripts."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from markupsafe import Markup

from sidecar.domain.amounts import format_estimate, format_number
from sidecar.domain.clock import format_time
from sidecar.domain.counted import counted
from sidecar.domain.forecast import UNKNOWN, BudgetForecast, Point
from sidecar.domain.money import format_usd
from sidecar.domain.spend_report import (
    RETIREMENTS,
    Dimension,
    Spend,
    SpendReport,
    days_in_group,
    stacked,
)
from sidecar.domain.windows import MINUTE_US, Window
from sidecar.reports.markup import table, tag
from sidecar.reports.plots import budget_plot, daily_plot

MAX_PLOTS, MAX_BUDGETS, MAX_ROWS = 24, 200, 500
"""Bounds of the page, which has the most urgent budgets and the most expensive rows."""

LAYERS, MAX_BARS = 7, 31

Curves = Callable[[Sequence[BudgetForecast]], Sequence[Sequence[Point]]]
"""Returns the curves of some budgets, in their order."""

_START = Markup("""\
<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<title>Spend on Mistral</title>
""")
_END = Markup("\n</html>\n")

_LINES = {
    "spent": "spent",
    "held": "held by open calls, at most",
    "pace": "at the recent pace (estimate)",
    "ceiling": "ceiling",
    "now": "now",
}


def page(
    report: SpendReport,
    stack_by: Dimension,
    stacks: Sequence[Spend],
    curves: Curves,
) -> str:
    """Return the page; `stacks` are the layers of the daily bars, most expensive first."""
    style = Path(__file__).with_name("page.css").read_text(encoding="utf-8")
    main = tag(
        "main",
        *_summary(report),
        *_budgets(report, curves),
        *_days(report, stack_by, stacks),
        *_spend(report),
        *_retirements(report),
        tag("h2", "How this was calculated"),
        tag("p", report.method),
        tag("p", report.counted),
    )
    own = Markup(style)  # noqa: S704 - a file of this program
    return str(Markup().join((_START, tag("style", own), main, _END)))


def _summary(report: SpendReport) -> Iterator[Markup]:
    short = sum(forecast.falls_short for forecast in report.forecasts)
    tiles = {
        "spent": f"${format_usd(report.total.cost_nano_usd)}",
        "calls": f"{report.total.calls:,}",
        **_unknown(report.total),
        **_unaccounted(report),
        "budgets run out in their window, or refuse calls": f"{short} of {len(report.forecasts)}",
    }
    yield tag("h1", "Spend on Mistral")
    yield tag(
        "p",
        f"{report.dates[0]} to {report.dates[-1]}, as of {format_time(report.at_us, report.zone)}."
        f" Times and days are those of {report.zone}.",
    )
    cells = (tag("li", tag("b", value), f" {what}") for what, value in tiles.items())
    yield tag("ul", *cells, class_="tiles")


def _unknown(total: Spend) -> dict[str, str]:
    unknown = total.unknown_cost_nano_usd
    return (
        {"of unknown outcome, charged to no budget": f"${format_usd(unknown)}"} if unknown else {}
    )


def _unaccounted(report: SpendReport) -> dict[str, str]:
    found = report.unaccounted
    return {} if found is None else {"unaccounted": f"${format_usd(found.total_nano_usd)}"}


def _budgets(report: SpendReport, curves: Curves) -> Iterator[Markup]:
    yield tag("h2", "When each budget runs out")
    if not report.forecasts:
        yield tag("p", "No budget with a ceiling is open, but for minutes and open holds.")
        return
    headings = ("limit", "for", "runs out", "pace an hour", "spent", "held", "ceiling", "counts")
    rows = [
        (
            forecast.limit.rule,
            forecast.limit.scope,
            tag("strong", forecast.verdict(report.zone))
            if forecast.falls_short
            else forecast.verdict(report.zone),
            forecast.pace,
            *(
                format_number(forecast.limit.meter, amount)
                for amount in (forecast.spent, forecast.held, forecast.ceiling)
            ),
            forecast.counts,
        )
        for forecast in report.forecasts[:MAX_BUDGETS]
    ]
    yield table("Budgets, the most urgent first", headings, rows, texts=2)
    yield _bounded("more budget", MAX_BUDGETS, report.forecasts)
    yield tag("ul", *(_key(kind, what) for kind, what in _LINES.items()), class_="key")
    plotted = report.forecasts[:MAX_PLOTS]
    for number, (forecast, curve) in enumerate(zip(plotted, curves(plotted), strict=True)):
        yield _card(report, forecast, curve, f"budget{number}")
    yield _bounded("more plot", MAX_PLOTS, report.forecasts)


def _card(
    report: SpendReport, forecast: BudgetForecast, curve: Sequence[Point], name: str
) -> Markup:
    """Draw one budget, with its numbers in a table."""
    limit, zone, minutes = forecast.limit, report.zone, forecast.recent_us // MINUTE_US
    amounts = {
        "spent": forecast.spent,
        "held": forecast.held,
        "left": forecast.left,
        "ceiling": forecast.ceiling,
    }
    ends = limit.window is not Window.TOTAL
    facts = [(what, format_number(limit.meter, amount)) for what, amount in amounts.items()]
    facts += [
        ("pace an hour", forecast.pace),
        (
            "by the window's end, at this pace" if ends else "in a year, at this pace",
            format_estimate(limit.meter, forecast.used_at(forecast.span.end_us))
            if forecast.has_pace
            else UNKNOWN,
        ),
        ("runs out", forecast.verdict(zone)),
        ("window ends", format_time(forecast.span.end_us, zone) if ends else "never"),
    ]
    if forecast.has_pace:
        facts.append(("pace measured over", f"{minutes // 60} h {minutes % 60} min"))
    points = [
        (format_time(at_us, zone), format_number(limit.meter, spent)) for at_us, spent in curve
    ]
    return tag(
        "section",
        tag("h3", f"{limit.rule}, ", tag("bdi", limit.scope)),
        tag("div", budget_plot(forecast, curve, zone, name), class_="plot"),
        table(forecast.counts.capitalize(), ("", "amount"), facts, texts=1),
        tag(
            "details",
            tag("summary", "The line's points"),
            table("Spent", ("by", "amount"), points, 1),
        ),
        class_="card",
    )


def _days(report: SpendReport, stack_by: Dimension, stacks: Sequence[Spend]) -> Iterator[Markup]:
    layers = stacked(stacks, LAYERS, MAX_BARS)
    step = days_in_group(report.days, MAX_BARS)
    dates = report.dates[::step]
    each = "day" if step == 1 else f"{step} days"
    yield tag("h2", f"Cost of each {each}, by {stack_by.value}")
    names = [name or "(none)" for name, _ in layers]
    rows = [
        (date, *(f"${format_usd(amount)}" for amount in (sum(column), *column)))
        for date, *column in zip(dates, *(daily for _, daily in layers), strict=True)
    ]
    yield tag("ul", *(_key(f"s{n}", name) for n, name in enumerate(names)), class_="key")
    yield tag(
        "section",
        tag("div", daily_plot(dates, layers, "days"), class_="plot"),
        table(f"Cost of each {each}", ("from", "total", *names), rows, texts=1),
        class_="card",
    )


def _spend(report: SpendReport) -> Iterator[Markup]:
    by = [dimension.value for dimension in report.by]
    yield tag("h2", f"Spend by {', '.join(by)}")
    headings = (*by, *report.total.headings())
    total = (
        *("total" if number == 0 else "" for number in range(len(by))),
        *report.total.figures(report.total),
    )
    rows = [
        (*(name or "(none)" for name in row.names), *row.figures(report.total))
        for row in report.rows[:MAX_ROWS]
    ]
    yield table(f"Spend by {', '.join(by)}", headings, [*rows, total], texts=len(by))
    yield _bounded("more row", MAX_ROWS, report.rows)


def _retirements(report: SpendReport) -> Iterator[Markup]:
    if report.retirements:
        rows = report.retirement_rows
        yield tag("h2", RETIREMENTS)
        yield table(RETIREMENTS, report.retirement_headings, rows, texts=len(rows[0]))


def _key(kind: str, what: str) -> Markup:
    """Return a legend's entry: a sample of a CSS class, and its meaning."""
    line = tag("path", d="M1 6H23", class_=kind)
    if kind not in _LINES:
        line = tag("rect", x=6, y=0, width=12, height=12, class_=kind)
    sample = tag("svg", line, viewBox="0 0 24 12", aria_hidden="true")
    return tag("li", sample, " ", tag("bdi", what))


def _bounded(what: str, most: int, found: Sequence[object]) -> Markup:
    more = len(found) - most
    return tag("p", f"{counted(more, what)}: --format json has all.") if more > 0 else Markup()
