"""Windows follow the calendar, in any zone, and never overlap or leave a gap."""

from collections import Counter
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.domain.clock import SECOND_US, to_datetime, to_us
from sidecar.domain.windows import (
    CALENDAR,
    DEFAULT_ANCHOR,
    FOREVER_US,
    HORIZON_US,
    Anchor,
    Calendar,
    Window,
    format_window,
    is_inside,
    windows_per_month,
)

# Zones with half hours, shifts at midnight or in the middle of an hour, by half an hour, by
# two hours or three, a skipped day.
ZONES = [
    "UTC", "Europe/Paris", "America/New_York", "Asia/Kolkata", "Australia/Lord_Howe",
    "America/Havana", "Pacific/Apia", "America/Sao_Paulo", "Africa/Casablanca",
    "Pacific/Chatham", "Antarctica/Troll", "Antarctica/Casey", "America/St_Johns", "Asia/Gaza",
]  # fmt: skip

moments = st.integers(0, to_us(datetime(2090, 1, 1, tzinfo=UTC)))
windows = st.sampled_from(CALENDAR)


def anchors(window: Window) -> st.SearchStrategy[Anchor]:
    """Any anchor that a window can have."""
    days = st.integers(1, 7 if window is Window.WEEK else 28)
    return st.builds(Anchor, days, st.integers(0, 23))


anchored = windows.flatmap(lambda window: st.tuples(st.just(window), anchors(window)))
"""Any window that follows the calendar, with any anchor."""


def us(text: str) -> int:
    """Read a time in UTC."""
    return to_us(datetime.fromisoformat(text).replace(tzinfo=UTC))


@pytest.mark.property
@given(st.sampled_from(ZONES), anchored, moments)
def test_windows_partition_time(zone: str, kind: tuple[Window, Anchor], at_us: int) -> None:
    """L9: every moment is in one window, and the next begins where it ends."""
    window, anchor = kind

    def span_at(moment_us: int) -> tuple[int, int]:
        return Calendar(ZoneInfo(zone)).span(window, moment_us, anchor)

    start_us, end_us = span_at(at_us)
    assert start_us <= at_us < end_us
    assert (start_us, end_us) == span_at(start_us) == span_at(end_us - 1)
    assert end_us == span_at(end_us)[0]
    assert span_at(start_us - 1)[1] == start_us


@pytest.mark.property
@given(st.sampled_from(ZONES), anchored, moments)
def test_no_window_outlives_the_horizon_that_the_ledger_looks_back(
    zone: str, kind: tuple[Window, Anchor], at_us: int
) -> None:
    """L1: whatever is still open can be found without looking at all that ever was."""
    window, anchor = kind
    start_us, end_us = Calendar(ZoneInfo(zone)).span(window, at_us, anchor)
    assert end_us - start_us <= HORIZON_US[window]


@pytest.mark.property
@given(anchored, anchored, moments)
def test_a_window_is_inside_another_just_if_no_call_can_be_in_two_of_those(
    kind: tuple[Window, Anchor], other: tuple[Window, Anchor], at_us: int
) -> None:
    """L6: `is_inside` is true of what the calendar then shows at every moment."""
    (shorter, its), (longer, anchor) = kind, other
    if is_inside(shorter, its, longer, anchor):
        inner = Calendar().span(shorter, at_us, its)
        outer = Calendar().span(longer, at_us, anchor)
        assert outer.start_us <= inner.start_us
        assert inner.end_us <= outer.end_us


@pytest.mark.parametrize(
    ("shorter", "its", "longer", "anchor"),
    [
        (Window.MINUTE, DEFAULT_ANCHOR, Window.HOUR, DEFAULT_ANCHOR),
        (Window.DAY, Anchor(hour=6), Window.MONTH, DEFAULT_ANCHOR),
        (Window.WEEK, DEFAULT_ANCHOR, Window.MONTH, DEFAULT_ANCHOR),
        (Window.MONTH, Anchor(15), Window.YEAR, DEFAULT_ANCHOR),
        (Window.QUARTER, DEFAULT_ANCHOR, Window.YEAR, Anchor(hour=6)),
        (Window.YEAR, DEFAULT_ANCHOR, Window.MONTH, DEFAULT_ANCHOR),
    ],
)
def test_a_window_may_lie_in_two_longer_ones(
    shorter: Window, its: Anchor, longer: Window, anchor: Anchor
) -> None:
    """L6: nothing is inside a window that may end in its middle."""
    assert not is_inside(shorter, its, longer, anchor)


@pytest.mark.parametrize("window", CALENDAR)
def test_as_many_windows_begin_in_a_month_as_is_said_and_no_more(window: Window) -> None:
    """The most of a kind that begin in any of the 48 months of four years."""
    begun: Counter[tuple[int, int]] = Counter()
    at_us, end_us = us("2025-12-31"), us("2030-01-01")
    while at_us < end_us:
        at_us = Calendar().span(window, at_us).end_us
        begins = to_datetime(at_us)
        begun[begins.year, begins.month] += 1
    assert max(begun.values()) == windows_per_month(window)


@pytest.mark.parametrize(
    ("window", "anchor", "at", "start", "end"),
    [
        (Window.DAY, Anchor(hour=6), "2026-11-24T05:59", "2026-11-23T06:00", "2026-11-24T06:00"),
        (Window.DAY, Anchor(9, 6), "2026-11-24T06:00", "2026-11-24T06:00", "2026-11-25T06:00"),
        (Window.WEEK, DEFAULT_ANCHOR, "2026-11-24T09:00", "2026-11-23", "2026-11-30"),
        (Window.WEEK, Anchor(7), "2026-11-24T09:00", "2026-11-22", "2026-11-29"),
        (Window.WEEK, Anchor(4, 9), "2026-12-31T08:59", "2026-12-24T09:00", "2026-12-31T09:00"),
        (Window.MONTH, Anchor(15), "2026-11-14T23:59", "2026-10-15", "2026-11-15"),
        (Window.MONTH, Anchor(28, 23), "2027-02-28T22:00", "2027-01-28T23:00", "2027-02-28T23:00"),
        (Window.QUARTER, DEFAULT_ANCHOR, "2026-11-24", "2026-10-01", "2027-01-01"),
        (Window.QUARTER, Anchor(2), "2026-10-01T23:00", "2026-07-02", "2026-10-02"),
        (Window.YEAR, DEFAULT_ANCHOR, "2028-02-29T12:00", "2028-01-01", "2029-01-01"),
        (Window.YEAR, Anchor(28, 1), "2026-01-28", "2025-01-28T01:00", "2026-01-28T01:00"),
    ],
)
def test_windows_begin_where_their_anchor_says(
    window: Window, anchor: Anchor, at: str, start: str, end: str
) -> None:
    """Worked examples of weeks, quarters, years, and first days and hours of their own."""
    assert (us(start), us(end)) == Calendar().span(window, us(at), anchor)


@pytest.mark.parametrize(
    ("window", "anchor", "expected"),
    [
        (Window.MONTH, DEFAULT_ANCHOR, "month"),
        (Window.MONTH, Anchor(15), "month from 15"),
        (Window.DAY, Anchor(hour=6), "day from 06:00"),
        (Window.WEEK, Anchor(1, 9), "week from 09:00"),
        (Window.WEEK, Anchor(7, 18), "week from sunday 18:00"),
    ],
)
def test_a_window_is_shown_with_where_it_begins(
    window: Window, anchor: Anchor, expected: str
) -> None:
    """Midnight and the first day are left out of the text."""
    assert format_window(window, anchor) == expected


def test_one_calendar_keeps_windows_of_different_anchors_apart() -> None:
    """Cached windows are keyed by the anchor, too."""
    calendar, at_us = Calendar(), us("2026-11-20")
    first, middle = (calendar.span(Window.MONTH, at_us, Anchor(day)) for day in (1, 15))
    assert (first.start_us, middle.start_us) == (us("2026-11-01"), us("2026-11-15"))
    assert calendar.span(Window.MONTH, at_us) == first


@pytest.mark.parametrize(
    ("zone", "window", "at", "start", "end"),
    [
        ("UTC", Window.HOUR, "2026-11-24T08:59:59", "2026-11-24T08:00", "2026-11-24T09:00"),
        ("UTC", Window.DAY, "2026-11-24T08:59:59", "2026-11-24", "2026-11-25"),
        ("UTC", Window.MONTH, "2024-02-29T23:59:59", "2024-02-01", "2024-03-01"),
        ("UTC", Window.MONTH, "2026-12-31T23:00", "2026-12-01", "2027-01-01"),
        ("Europe/Paris", Window.DAY, "2026-11-24T23:30", "2026-11-24T23:00", "2026-11-25T23:00"),
        ("Asia/Kolkata", Window.HOUR, "2026-11-24T08:40", "2026-11-24T08:30", "2026-11-24T09:30"),
        # summer time ends: the repeated hour is one window of two hours
        ("Europe/Paris", Window.HOUR, "2026-10-25T00:30", "2026-10-25T00:00", "2026-10-25T02:00"),
        ("Europe/Paris", Window.HOUR, "2026-10-25T01:30", "2026-10-25T00:00", "2026-10-25T02:00"),
        ("Europe/Paris", Window.DAY, "2026-10-25T12:00", "2026-10-24T22:00", "2026-10-25T23:00"),
        # the clocks go back by two hours: what they show again is one hour of three
        (
            "Antarctica/Troll",
            Window.HOUR,
            "2026-10-25T00:30",
            "2026-10-25T00:00",
            "2026-10-25T03:00",
        ),
        (
            "Antarctica/Troll",
            Window.HOUR,
            "2026-10-25T01:30",
            "2026-10-25T00:00",
            "2026-10-25T03:00",
        ),
        # 02:45 to 03:45 and back: hours that begin and end where no clock shows a full hour
        (
            "Pacific/Chatham",
            Window.HOUR,
            "2027-04-03T14:05",
            "2027-04-03T13:15",
            "2027-04-03T15:15",
        ),
        (
            "Pacific/Chatham",
            Window.HOUR,
            "2026-09-26T13:50",
            "2026-09-26T13:15",
            "2026-09-26T14:00",
        ),
        (
            "Pacific/Chatham",
            Window.HOUR,
            "2026-09-26T14:05",
            "2026-09-26T14:00",
            "2026-09-26T14:15",
        ),
        # midnight is skipped: the day begins at one
        ("Asia/Beirut", Window.DAY, "2026-03-28T22:00", "2026-03-28T22:00", "2026-03-29T21:00"),
        # summer time begins: a day of 23 hours
        ("Europe/Paris", Window.DAY, "2026-03-29T12:00", "2026-03-28T23:00", "2026-03-29T22:00"),
    ],
)
def test_windows_follow_the_calendar_of_the_zone(
    zone: str, window: Window, at: str, start: str, end: str
) -> None:
    """Worked examples: leap days, half-hour zones, both ends of summer time."""
    assert (us(start), us(end)) == Calendar(ZoneInfo(zone)).span(window, us(at))


def test_a_sliding_minute_counts_each_admission_for_sixty_seconds() -> None:
    """The span of a second's admissions ends when the one at hand is a minute old."""
    at_us = us("2026-11-24T08:00:00.700000")
    span = Calendar().span(Window.MINUTE, at_us)
    assert (us("2026-11-24T08:00:00"), at_us + 60 * SECOND_US) == span


@pytest.mark.parametrize("window", [Window.TOTAL, Window.CONCURRENT])
def test_total_and_concurrent_have_no_end(window: Window) -> None:
    """All spend counts for ever, and open holds for as long as they are open."""
    assert Calendar().span(window, us("2026-11-24")) == (0, FOREVER_US)


@pytest.mark.property
@given(moments)
def test_times_convert_exactly_both_ways(at_us: int) -> None:
    """No microsecond is lost between integers and datetimes."""
    assert at_us == to_us(to_datetime(at_us))
