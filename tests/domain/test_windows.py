"""Windows follow the calendar, in any zone, and never overlap or leave a gap."""

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.domain.clock import SECOND_US, monotonic, to_datetime, to_us
from sidecar.domain.windows import FOREVER_US, HORIZON_US, Calendar, Window

CALENDAR_WINDOWS = [Window.HOUR, Window.DAY, Window.MONTH]

# Zones with half hours, shifts at midnight or in the middle of an hour, by half an hour, by
# two hours or three, a skipped day.
ZONES = [
    "UTC", "Europe/Paris", "America/New_York", "Asia/Kolkata", "Australia/Lord_Howe",
    "America/Havana", "Pacific/Apia", "America/Sao_Paulo", "Africa/Casablanca",
    "Pacific/Chatham", "Antarctica/Troll", "Antarctica/Casey", "America/St_Johns", "Asia/Gaza",
]  # fmt: skip

moments = st.integers(0, to_us(datetime(2090, 1, 1, tzinfo=UTC)))


def us(text: str) -> int:
    """Read a time in UTC."""
    return to_us(datetime.fromisoformat(text).replace(tzinfo=UTC))


@pytest.mark.property
@given(st.sampled_from(ZONES), st.sampled_from(CALENDAR_WINDOWS), moments)
def test_windows_partition_time(zone: str, window: Window, at_us: int) -> None:
    """L9: every moment is in one window, and the next begins where it ends."""
    calendar = Calendar(ZoneInfo(zone))
    start_us, end_us = calendar.span(window, at_us)
    assert start_us <= at_us < end_us
    assert (start_us, end_us) == Calendar(ZoneInfo(zone)).span(window, start_us)
    assert (start_us, end_us) == Calendar(ZoneInfo(zone)).span(window, end_us - 1)
    assert end_us == Calendar(ZoneInfo(zone)).span(window, end_us).start_us


@pytest.mark.property
@given(st.sampled_from(ZONES), st.sampled_from(CALENDAR_WINDOWS), moments)
def test_no_window_outlives_the_horizon_that_the_ledger_looks_back(
    zone: str, window: Window, at_us: int
) -> None:
    """L1: whatever is still open can be found without looking at all that ever was."""
    start_us, end_us = Calendar(ZoneInfo(zone)).span(window, at_us)
    assert end_us - start_us <= HORIZON_US[window]


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


def test_concurrent_has_no_end() -> None:
    """Open holds count for as long as they are open."""
    assert Calendar().span(Window.CONCURRENT, us("2026-11-24")) == (0, FOREVER_US)


@pytest.mark.property
@given(moments)
def test_times_convert_exactly_both_ways(at_us: int) -> None:
    """No microsecond is lost between integers and datetimes."""
    assert at_us == to_us(to_datetime(at_us))


@pytest.mark.property
@given(st.lists(st.integers(0, 10**6)), st.integers(0, 10**6))
def test_a_guarded_clock_never_goes_back(readings: list[int], floor_us: int) -> None:
    """L9: whatever the system clock does, time stands still or goes on."""
    source = iter(readings)
    now_us = monotonic(lambda: next(source), floor_us)
    answers = [now_us() for _ in readings]
    assert answers == sorted(answers)
    assert all(floor_us <= answer for answer in answers)
