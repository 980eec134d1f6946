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
    WEEK = "week"
    MONTH = "month"
    QUARTER = "quarter"
    YEAR = "year"
    TOTAL = "total"
    CONCURRENT = "concurrent"


CALENDAR = (
    Window.HOUR, Window.DAY, Window.WEEK, Window.MONTH, Window.QUARTER, Window.YEAR
)  # fmt: skip
"""The windows that follow the calendar, the shortest first."""

SHORTEST_FIRST = (Window.MINUTE, *CALENDAR, Window.TOTAL)
"""The windows that count over time, which is all but concurrent."""

BEGINS_ON_A_DAY = CALENDAR[2:]
"""The windows of several days: an anchor says on which day they begin."""

BEGINS_AT_AN_HOUR = CALENDAR[1:]
"""The windows of a day or more: an anchor says at which hour they begin."""


class Anchor(NamedTuple):
    """Where in the calendar a limit's windows begin.

    A window that is not in BEGINS_ON_A_DAY, or not in BEGINS_AT_AN_HOUR, ignores that part.
    """

    day: int = 1
    """For a week, the weekday: 1 is Monday, 7 is Sunday. For a month, the day, 1 to 28; for a
    quarter or a year, the day in its first month."""
    hour: int = 0
    """The hour of the day, 0 to 23."""


DEFAULT_ANCHOR = Anchor()
"""Days begin at midnight, weeks on Monday, all that is longer on the first day of a month."""

WEEKDAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")


def format_window(window: Window, anchor: Anchor) -> str:
    """Format a kind of window for people, as in `week from sunday 06:00`."""
    day = "" if anchor.day == 1 else str(anchor.day)
    if day and window is Window.WEEK:
        day = WEEKDAYS[anchor.day - 1]
    hour = f"{anchor.hour:02}:00" if anchor.hour else ""
    begins = " ".join(filter(None, (day, hour)))
    return f"{window.value} from {begins}" if begins else window.value


class Span(NamedTuple):
    """A span of time, in microseconds since the epoch; `end_us` is exclusive."""

    start_us: int
    end_us: int


MINUTE_US = 60 * SECOND_US
HOUR_US = 60 * MINUTE_US
DAY_US = 24 * HOUR_US

HORIZON_US: dict[Window, int] = {
    Window.MINUTE: 62 * SECOND_US,
    Window.HOUR: 4 * HOUR_US,
    Window.DAY: 2 * DAY_US,
    Window.WEEK: 8 * DAY_US,
    Window.MONTH: 32 * DAY_US,
    Window.QUARTER: 93 * DAY_US,
    Window.YEAR: 367 * DAY_US,
}
"""The longest that a window can be, with a margin for clocks that are set back in it.

The current window is found even if it is longer: see sidecar/ledger/balances.py.
"""

_PER_MONTH = {
    Window.MINUTE: 31 * 24 * 60,
    Window.HOUR: 31 * 24,
    Window.DAY: 31,
    Window.WEEK: 5,
    Window.MONTH: 1,
    Window.QUARTER: 1,
    Window.YEAR: 1,
    Window.TOTAL: 1,
}


def windows_per_month(window: Window) -> int | None:
    """Return the most windows of a kind that begin within one month of 31 days.

    This number times the ceiling bounds what a limit can admit in such a month, apart from what
    is left of the window that is open when the month begins. None for a concurrent limit, which
    does not add up over time.
    """
    return _PER_MONTH.get(window)


def is_inside(shorter: Window, its_anchor: Anchor, longer: Window, anchor: Anchor) -> bool:
    """Whether each window of the shorter kind is inside one window of the longer kind.

    A sliding minute is inside nothing but a total, and a week may be in two months. Neither
    window may be concurrent.
    """
    if SHORTEST_FIRST.index(shorter) >= SHORTEST_FIRST.index(longer):
        return False
    if longer is Window.TOTAL:
        return True
    match shorter:
        case Window.HOUR:
            return True
        case Window.DAY:
            return its_anchor.hour == anchor.hour
        case Window.MONTH | Window.QUARTER:
            return its_anchor == anchor
    return False


class Calendar:
    """Finds the window that contains a moment, in one time zone.

    A window begins when the clocks first show its beginning or a later time, and ends when
    the next begins. So an hour that the clocks repeat belongs to the window that they had
    reached, and no budget counts twice; an hour or day that they skip has no window.
    """

    def __init__(self, zone: tzinfo = UTC) -> None:
        """Use the calendar of this zone."""
        self._zone = zone
        self._latest: dict[tuple[Window, Anchor], Span] = {}

    def span(self, window: Window, at_us: int, anchor: Anchor = DEFAULT_ANCHOR) -> Span:
        """Return the window of this kind that contains the moment.

        A sliding minute has one span for each second with admissions: it starts with the
        second, and ends when the second's last admission, at `at_us`, is a minute old. The
        spans that have not ended contain every admission of the last 60 seconds.
        """
        if window is Window.MINUTE:
            return Span(at_us - at_us % SECOND_US, at_us + MINUTE_US)
        if window is Window.CONCURRENT or window is Window.TOTAL:
            return Span(0, FOREVER_US)
        latest = self._latest.get((window, anchor))
        if latest is None or not latest.start_us <= at_us < latest.end_us:
            latest = self._latest[window, anchor] = self._find(window, at_us, anchor)
        return latest

    def days(self, span: Span) -> tuple[Span, ...]:
        """Return the days that a span touches, in order."""
        found: list[Span] = []
        at_us = span.start_us
        while at_us < span.end_us:
            found.append(self.span(Window.DAY, at_us))
            at_us = found[-1].end_us
        return tuple(found)

    def _find(self, window: Window, at_us: int, anchor: Anchor) -> Span:
        begins = _floor(window, self._shown(at_us), anchor)
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


def _floor(window: Window, local: datetime, anchor: Anchor) -> datetime:
    """Return when the window that contains a local time begins, on the same clock."""
    if window is Window.HOUR:
        return local.replace(minute=0, second=0, microsecond=0)
    days = anchor.day - 1 if window in BEGINS_ON_A_DAY else 0
    after = timedelta(days=days, hours=anchor.hour)
    day = (local - after).replace(hour=0, minute=0, second=0, microsecond=0)
    match window:
        case Window.WEEK:
            day -= timedelta(days=day.weekday())
        case Window.MONTH:
            day = day.replace(day=1)
        case Window.QUARTER:
            day = day.replace(month=day.month - (day.month - 1) % 3, day=1)
        case Window.YEAR:
            day = day.replace(month=1, day=1)
    return day + after


_LENGTH = {
    Window.HOUR: timedelta(hours=1),
    Window.DAY: timedelta(days=1),
    Window.WEEK: timedelta(weeks=1),
}
_MONTHS = {Window.MONTH: 1, Window.QUARTER: 3, Window.YEAR: 12}


def _next(window: Window, begins: datetime) -> datetime:
    """Return when the window after the one that begins then begins."""
    if window in _LENGTH:
        return begins + _LENGTH[window]
    month = begins.year * 12 + begins.month - 1 + _MONTHS[window]
    return begins.replace(year=month // 12, month=month % 12 + 1)
