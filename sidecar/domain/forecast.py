"""Forecasts: when a budget runs out at its recent pace of spend."""

from dataclasses import dataclass
from datetime import tzinfo
from typing import NamedTuple

from sidecar.domain.amounts import format_estimate
from sidecar.domain.clock import format_time
from sidecar.domain.decisions import Limit
from sidecar.domain.money import ceil_div
from sidecar.domain.windows import (
    BEGINS_ON_A_DAY,
    DAY_US,
    FOREVER_US,
    HOUR_US,
    MINUTE_US,
    Span,
    Window,
    format_window,
)

RECENT_US: dict[Window, int] = {
    Window.HOUR: 15 * MINUTE_US,
    Window.DAY: 3 * HOUR_US,
    **dict.fromkeys((*BEGINS_ON_A_DAY, Window.TOTAL), DAY_US),
}
"""For each window that has a forecast, the time over which the pace is measured."""

_NOT_IN = {
    Window.HOUR: "not in this hour",
    Window.DAY: "not today",
    **{window: f"not in this {window.value}" for window in BEGINS_ON_A_DAY},
    Window.TOTAL: "not within a year",
}

UNKNOWN = "unknown"

YEAR_US = 365 * DAY_US

METHOD = (
    "Method: a budget's pace is what its calls were charged in the last 24 hours for a week and "
    "longer, 3 hours for a day, 15 minutes for an hour, or since the window began if that is "
    "shorter (but a minute at least), divided by that time. The budget runs out when what is spent "
    "at this pace, and what is held now and assumed to stay held, reach the ceiling. If that is "
    "not in this window, but calls were refused in the measured time, the report says so. The "
    "forecast of a total, which has no end, looks a year ahead. Pace and forecast are estimates; "
    "all other amounts are exact sums of the ledger."
)


def recent_us(window: Window, elapsed_us: int) -> int:
    """Return the time over which to measure the pace, `elapsed_us` into the window.

    It is at least a minute, so that the first call of a window raises no alarm.
    """
    return max(MINUTE_US, min(RECENT_US[window], elapsed_us))


def forecast_span(window: Window, span: Span, at_us: int) -> Span:
    """Return what a forecast looks at: the window; a year back and ahead for a total."""
    if window is Window.TOTAL:
        return Span(at_us - YEAR_US, at_us + YEAR_US)
    return span


class Point(NamedTuple):
    """A point of a budget's spend curve."""

    at_us: int
    spent: int


@dataclass(frozen=True, slots=True)
class BudgetForecast:
    """One budget in its current window, and the forecast by its pace.

    Amounts are in the meter's unit: requests, tokens or nano-USD.
    """

    limit: Limit
    ceiling: int
    span: Span
    """See `forecast_span`; it contains `at_us`."""
    spent: int
    held: int
    at_us: int
    recent: int
    """What calls were charged in the `recent_us` before `at_us`."""
    recent_us: int
    refused_at_us: int | None
    """When it last refused a call in this window, if it did."""
    has_pace: bool = True
    """Whether its pace is known."""

    @property
    def counts(self) -> str:
        """Its meter and window, as in "tokens per day"."""
        limit = self.limit
        if limit.window is Window.TOTAL:
            return f"{limit.meter.value} in all"
        return f"{limit.meter.value} per {format_window(limit.window, limit.anchor)}"

    @property
    def used(self) -> int:
        """Spent and held: what the ceiling is compared with."""
        return self.spent + self.held

    @property
    def left(self) -> int:
        """What may still be held, at least 0."""
        return max(0, self.ceiling - self.used)

    @property
    def hourly(self) -> int:
        """The pace: an estimate of an hour's spend, rounded down."""
        return self.recent * HOUR_US // self.recent_us

    @property
    def pace(self) -> str:
        """Its pace for people: an estimate of an hour's spend."""
        return format_estimate(self.limit.meter, self.hourly) if self.has_pace else UNKNOWN

    def used_at(self, later_us: int) -> int:
        """Estimate what is used by a later time, if no call is refused."""
        return self.used + self.recent * (later_us - self.at_us) // self.recent_us

    @property
    def exhausted_at_us(self) -> int | None:
        """Estimate when nothing is left: `at_us` if that is now, None if not in this window."""
        if not self.left:
            return self.at_us
        if self.recent <= 0:
            return None
        exhausted_at_us = self.at_us + ceil_div(self.left * self.recent_us, self.recent)
        return exhausted_at_us if exhausted_at_us < self.span.end_us else None

    @property
    def refuses(self) -> bool:
        """Whether it refused a call in the time measured, which the pace does not include."""
        return self.refused_at_us is not None and self.at_us - self.refused_at_us < self.recent_us

    @property
    def falls_short(self) -> bool:
        """Whether it runs out in this window, or already refuses calls."""
        return self.refuses or self.exhausted_at_us is not None

    @property
    def urgency(self) -> tuple[int, int]:
        """The sort key: the first to run out first, then the smallest part left."""
        exhausted_at_us = self.at_us if self.refuses else self.exhausted_at_us
        permille_left = 1000 * self.left // max(1, self.ceiling)
        return (FOREVER_US if exhausted_at_us is None else exhausted_at_us, permille_left)

    def verdict(self, zone: tzinfo) -> str:
        """Return a text for people: when it runs out."""
        if not self.left:
            return "used up"
        if not self.has_pace:
            return UNKNOWN
        if self.exhausted_at_us is not None:
            return f"≈ {format_time(self.exhausted_at_us, zone)}"
        return "refuses calls" if self.refuses else _NOT_IN[self.limit.window]
