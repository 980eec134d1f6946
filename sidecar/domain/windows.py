"""Which stretch of time a limit counts."""

from datetime import UTC, datetime, timedelta, tzinfo
from enum import StrEnum
from typing import NamedTuple

from sidecar.domain.clock import SECOND_US, to_datetime, to_us

FOREVER_US = 2**63 - 1
"""Later than any time: the end of what has no end."""


class Window(StrEnum):
    """The windows a limit may name in its header."""

    __hash__ = str.__hash__  # an Enum's own is slower, and this is looked up often

    MINUTE = "minute"
    HOUR = "hour"
    DAY = "day"
    MONTH = "month"
    CONCURRENT = "concurrent"


class Span(NamedTuple):
    """A stretch of time, from start to just before end, in microseconds."""

    start_us: int
    end_us: int


HORIZON_US: dict[Window, int] = {
    Window.MINUTE: 62 * SECOND_US,
    Window.HOUR: 3 * 3600 * SECOND_US,
    Window.DAY: 2 * 86_400 * SECOND_US,
    Window.MONTH: 32 * 86_400 * SECOND_US,
}
"""How long ago a window that is still open can have started, at most.

An hour or a day grows when summer time ends; each has a margin for that.
"""

MINUTE_US = 60 * SECOND_US


class Calendar:
    """Finds the window that a moment falls into, in one time zone.

    An hour that the clocks repeat when summer time ends is one window of two
    hours: the budget of an hour is never given twice.
    """

    def __init__(self, zone: tzinfo = UTC) -> None:
        """Use the calendar of this zone."""
        self._zone = zone
        self._latest: dict[Window, Span] = {}

    def span(self, window: Window, at_us: int) -> Span:
        """Return the window of this kind that contains the moment.

        A sliding minute is kept as one span for each second: it starts with
        the second and ends when the last admission of that second, made at
        `at_us`, is a minute old. Adding up the spans that have not ended then
        counts every admission of the last 60 seconds.
        """
        if window is Window.MINUTE:
            return Span(at_us - at_us % SECOND_US, at_us + MINUTE_US)
        if window is Window.CONCURRENT:
            return Span(0, FOREVER_US)
        latest = self._latest.get(window)
        if latest is None or not latest.start_us <= at_us < latest.end_us:
            latest = self._latest[window] = self._find(window, at_us)
        return latest

    def days(self, span: Span) -> tuple[Span, ...]:
        """Return the days that a stretch of time touches, in order."""
        found: list[Span] = []
        at_us = span.start_us
        while at_us < span.end_us:
            found.append(self.span(Window.DAY, at_us))
            at_us = found[-1].end_us
        return tuple(found)

    def _find(self, window: Window, at_us: int) -> Span:
        local = to_datetime(at_us).astimezone(self._zone).replace(tzinfo=None, fold=0)
        hour = local.replace(minute=0, second=0, microsecond=0)
        if window is Window.HOUR:
            return Span(self._instant(hour), self._instant(hour + timedelta(hours=1)))
        day = hour.replace(hour=0)
        if window is Window.DAY:
            return Span(self._instant(day), self._instant(day + timedelta(days=1)))
        month = day.replace(day=1)
        following = (month + timedelta(days=32)).replace(day=1)
        return Span(self._instant(month), self._instant(following))

    def _instant(self, local: datetime) -> int:
        return to_us(local.replace(tzinfo=self._zone).astimezone(UTC))
