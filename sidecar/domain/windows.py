"""Windows: the spans of time that limits count over."""

from datetime import UTC, datetime, timedelta, tzinfo
from enum import StrEnum
from typing import NamedTuple

from sidecar.domain.clock import SECOND_US, to_datetime, to_us

FOREVER_US = 2**63 - 1
"""Later than any time: the end of a span without end."""


class Window(StrEnum):
    """The windows that a limit may name in its header."""

    __hash__ = str.__hash__  # faster than Enum's, for a frequent dictionary key

    MINUTE = "minute"
    HOUR = "hour"
    DAY = "day"
    MONTH = "month"
    CONCURRENT = "concurrent"


class Span(NamedTuple):
    """A span of time, in microseconds since the epoch; `end_us` is exclusive."""

    start_us: int
    end_us: int


HORIZON_US: dict[Window, int] = {
    Window.MINUTE: 62 * SECOND_US,
    Window.HOUR: 4 * 3600 * SECOND_US,
    Window.DAY: 2 * 86_400 * SECOND_US,
    Window.MONTH: 32 * 86_400 * SECOND_US,
}
"""The longest that a window can be, with a margin for clocks that are set back in it.

The current window is found even if it is longer: see sidecar/ledger/balances.py.
"""

MINUTE_US = 60 * SECOND_US


class Calendar:
    """Finds the window that contains a moment, in one time zone.

    A window begins when the clocks first show its beginning or a later time, and ends when
    the next begins. So an hour that the clocks repeat belongs to the window that they had
    reached, and no budget counts twice; an hour or day that they skip has no window.
    """

    def __init__(self, zone: tzinfo = UTC) -> None:
        """Use the calendar of this zone."""
        self._zone = zone
        self._latest: dict[Window, Span] = {}

    def span(self, window: Window, at_us: int) -> Span:
        """Return the window of this kind that contains the moment.

        A sliding minute has one span for each second with admissions: it starts with the
        second, and ends when the second's last admission, at `at_us`, is a minute old. The
        spans that have not ended contain every admission of the last 60 seconds.
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
        """Return the days that a span touches, in order."""
        found: list[Span] = []
        at_us = span.start_us
        while at_us < span.end_us:
            found.append(self.span(Window.DAY, at_us))
            at_us = found[-1].end_us
        return tuple(found)

    def _find(self, window: Window, at_us: int) -> Span:
        begins = _floor(window, self._shown(at_us))
        start_us = self._first_shown_us(begins)
        while True:
            begins = _next(window, begins)
            end_us = self._first_shown_us(begins)
            if end_us > at_us:
                return Span(start_us, end_us)
            start_us = end_us  # the clocks had reached the next window before they were set back

    def _first_shown_us(self, local: datetime) -> int:
        """Return when the clocks first show this time or a later one."""
        first_us, second_us = (self._instant(local, fold) for fold in (0, 1))
        if first_us <= second_us:  # shown once, or repeated
            return first_us
        # The clocks skip it. By the offset before the change it is after the change, by the
        # offset after the change it is before: the change is found between the two.
        before_us, after_us = second_us, first_us
        while after_us - before_us > 1:
            middle_us = (before_us + after_us) // 2
            if self._shown(middle_us) < local:
                before_us = middle_us
            else:
                after_us = middle_us
        return after_us

    def _shown(self, at_us: int) -> datetime:
        """Return the local time that the clocks show."""
        return to_datetime(at_us).astimezone(self._zone).replace(tzinfo=None, fold=0)

    def _instant(self, local: datetime, fold: int) -> int:
        return to_us(local.replace(tzinfo=self._zone, fold=fold).astimezone(UTC))


def _floor(window: Window, local: datetime) -> datetime:
    """Return the beginning of the hour, day or month."""
    hour = local.replace(minute=0, second=0, microsecond=0)
    if window is Window.HOUR:
        return hour
    return hour.replace(hour=0) if window is Window.DAY else hour.replace(hour=0, day=1)


def _next(window: Window, begins: datetime) -> datetime:
    """Return the beginning of the hour, day or month after the one that begins then."""
    if window is Window.HOUR:
        return begins + timedelta(hours=1)
    if window is Window.DAY:
        return begins + timedelta(days=1)
    return (begins + timedelta(days=32)).replace(day=1)
