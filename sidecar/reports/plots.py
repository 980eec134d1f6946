"""Plots as inline SVG: the use of a budget, and the cost per day.

Colours and line styles come from the page's CSS, by class, so that they follow its
theme. `name` is the prefix of a plot's element ids, unique on a page.
"""

from collections.abc import Sequence
from datetime import UTC, timedelta, tzinfo

from markupsafe import Markup

from sidecar.domain.amounts import format_amount, format_number
from sidecar.domain.clock import to_datetime, to_us
from sidecar.domain.counted import counted
from sidecar.domain.decisions import Meter
from sidecar.domain.forecast import BudgetForecast, Point
from sidecar.domain.money import NANO_USD_PER_USD, ceil_div, format_usd
from sidecar.domain.windows import Window
from sidecar.reports.markup import tag

WIDTH, HEIGHT = 420, 234
LEFT, RIGHT, TOP, BOTTOM = 70, 408, 38, 206

_MARKS = {
    Window.HOUR: (timedelta(minutes=15), "%H:%M"),
    Window.DAY: (timedelta(hours=6), "%H:%M"),
    Window.WEEK: (timedelta(days=1), "%m-%d"),
    Window.MONTH: (timedelta(days=7), "%m-%d"),
    Window.QUARTER: (timedelta(days=21), "%m-%d"),
    Window.YEAR: (timedelta(days=73), "%m-%d"),
    Window.TOTAL: (timedelta(days=146), "%Y-%m"),
}
"""For each window, the distance of the time axis' ticks in local time, and their format."""

_SIZES = {10**12: "T", 10**9: "B", 10**6: "M", 10**3: "k"}


class _Axis:
    """Maps values to coordinates of the drawing, the only floats here."""

    def __init__(self, first: int, last: int, start: int, end: int) -> None:
        self._first, self._length = first, max(1, last - first)
        self._start, self._extent = start, end - start

    def __call__(self, value: int) -> float:
        return round(self._start + self._extent * (value - self._first) / self._length, 1)


def budget_plot(
    forecast: BudgetForecast, curve: Sequence[Point], zone: tzinfo, name: str
) -> Markup:
    """Draw a window's spend, what is held, the forecast at this pace, and the ceiling."""
    limit, ceiling, span = forecast.limit, forecast.ceiling, forecast.span
    spent, held, most = (
        format_amount(limit.meter, amount) for amount in (forecast.spent, forecast.held, ceiling)
    )
    x = _Axis(span.start_us, span.end_us, LEFT, RIGHT)
    lowest = min(0, *(point.spent for point in curve))  # a grant may exceed what was spent
    y = _Axis(lowest, max(ceiling, forecast.used), BOTTOM, TOP)
    line = f"M{x(span.start_us)} {y(curve[0].spent)}"
    line += "".join(f"H{x(point.at_us)}V{y(point.spent)}" for point in curve[1:])
    now, at_us = x(forecast.at_us), forecast.exhausted_at_us
    until_us = span.end_us if at_us is None else at_us
    end = x(until_us), y(max(forecast.used, min(ceiling, forecast.used_at(until_us))))
    anchor = "end" if end[0] > WIDTH / 2 else "start"
    runs_out = (
        tag("circle", cx=end[0], cy=end[1], r=4, class_="exhausted"),
        _label(*end, forecast.verdict(zone), anchor, above=22, class_="exhausted"),
    )
    return _svg(
        name,
        f"{limit.rule}, {limit.scope}",
        f"{spent} spent and {held} held of {most}. Runs out: {forecast.verdict(zone)}.",
        *_amounts(y, limit.meter, max(ceiling, forecast.used)),
        *_times(x, forecast, zone),
        _path("area", f"{line}V{y(0)}H{LEFT}Z"),
        _path("now", f"M{now} {BOTTOM}V{TOP}"),
        _path("ceiling", f"M{LEFT} {y(ceiling)}H{RIGHT}"),
        _label(LEFT, y(ceiling), f"ceiling {most}", "start", above=6),
        _path("spent", line),
        _path("held", f"M{now} {y(forecast.spent)}V{y(forecast.used)}"),
        *((_path("pace", f"M{now} {y(forecast.used)}L{end[0]} {end[1]}"),) * forecast.has_pace),
        *(runs_out if at_us is not None else ()),
    )


def daily_plot(dates: Sequence[str], stacks: Sequence[tuple[str, list[int]]], name: str) -> Markup:
    """Draw the cost per day, or group of days, as stacked bars; class s0 is the lowest layer."""
    totals = [sum(column) for column in zip(*(daily for _, daily in stacks), strict=True)]
    top = max(totals, default=0)
    y = _Axis(0, top, BOTTOM, TOP)
    slot = (RIGHT - LEFT) / len(dates)
    bars, below = [], [0] * len(dates)
    for layer, (layer_name, daily) in enumerate(stacks):
        for number, amount in enumerate(daily):
            floor, roof = y(below[number]), y(below[number] + amount)
            below[number] += amount
            if amount:
                bars.append(
                    tag(
                        "rect",
                        tag("title", f"{dates[number]}, {layer_name}: ${format_usd(amount)}"),
                        class_=f"s{layer}",
                        x=round(LEFT + slot * (number + 0.1), 1),
                        width=round(slot * 0.8, 1),
                        y=roof,
                        height=round(floor - roof, 1),
                    )
                )
    every = ceil_div(len(dates), 5)
    labels = [
        _label(min(LEFT + slot * (number + 0.5), WIDTH - 22), BOTTOM, date[5:], "middle", above=-20)
        for number, date in enumerate(dates)
        if number % every == 0
    ]
    bars_in_layers = f"{counted(len(dates), 'bar')} in {counted(len(stacks), 'layer')}"
    about = f"{bars_in_layers}, up to ${format_usd(top)}."
    return _svg(name, "Cost per day", about, *_amounts(y, Meter.COST, top), *bars, *labels)


def _svg(name: str, title: str, description: str, *parts: Markup) -> Markup:
    return tag(
        "svg",
        tag("title", title, id=f"{name}-title"),
        tag("desc", description, id=f"{name}-desc"),
        *parts,
        role="img",
        aria_labelledby=f"{name}-title {name}-desc",
        viewBox=f"0 0 {WIDTH} {HEIGHT}",
    )


def _amounts(y: _Axis, meter: Meter, top: int) -> list[Markup]:
    """Draw a grid line for each round amount, at most five."""
    step = next(d * 10**n for n in range(20) for d in (1, 2, 5) if 4 * d * 10**n >= top)
    parts = []
    for amount in range(0, top + 1, step):
        parts.append(_path("grid", f"M{LEFT} {y(amount)}H{RIGHT}"))
        parts.append(_label(LEFT - 6, y(amount), _short(meter, amount, step), "end", above=-4))
    return parts


def _short(meter: Meter, amount: int, step: int) -> str:
    """Write a multiple of a round step briefly, as in 20k."""
    unit = NANO_USD_PER_USD if meter is Meter.COST else 1
    for size, suffix in _SIZES.items():
        if step >= size * unit:
            return f"{format_number(meter, amount // size).removesuffix('.00')}{suffix}"
    return format_number(meter, amount).removesuffix(".00")


def _times(x: _Axis, forecast: BudgetForecast, zone: tzinfo) -> list[Markup]:
    every, form = _MARKS[forecast.limit.window]
    at = to_datetime(forecast.span.start_us).astimezone(zone)
    parts = []
    while (at_us := to_us(at.astimezone(UTC))) < forecast.span.end_us:
        parts.append(_path("grid", f"M{x(at_us)} {BOTTOM}v4"))
        parts.append(_label(x(at_us), BOTTOM, f"{at:{form}}", "middle", above=-20))
        at += every
    return parts


def _path(kind: str, line: str) -> Markup:
    return tag("path", d=line, class_=kind)


def _label(
    x: float, y: float, text: str, anchor: str, *, above: int, class_: str = "label"
) -> Markup:
    return tag(
        "text", text, x=round(x, 1), y=round(y - above, 1), text_anchor=anchor, class_=class_
    )
