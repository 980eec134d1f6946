"""Time as whole microseconds since the Unix epoch, in UTC."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta, tzinfo

MICROSECOND = timedelta(microseconds=1)
SECOND_US = 1_000_000
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MIN_YEAR, MAX_YEAR = 2000, 2200
"""The bounds of a time that people enter."""

Clock = Callable[[], int]
"""Returns the time now, in microseconds since the epoch."""


def to_datetime(at_us: int) -> datetime:
    """Convert microseconds since the epoch to a datetime in UTC, exactly."""
    return EPOCH + timedelta(microseconds=at_us)


def to_us(at: datetime) -> int:
    """Convert an aware datetime to microseconds since the epoch, exactly."""
    return (at - EPOCH) // MICROSECOND


def format_time(at_us: int, zone: tzinfo) -> str:
    """Format a time to the minute, as in 2026-11-24 14:05."""
    return f"{to_datetime(at_us).astimezone(zone):%Y-%m-%d %H:%M}"


def format_date(at_us: int, zone: tzinfo) -> str:
    """Format the day of a time, as in 2026-11-24."""
    return to_datetime(at_us).astimezone(zone).date().isoformat()


def monotonic(clock: Clock, floor_us: int = 0) -> Clock:
    """Wrap a clock so that its time never goes back, nor below the floor.

    A system clock that is set back must not reopen a closed window, nor bring an
    older price back into force.
    """
    latest_us = floor_us

    def now_us() -> int:
        nonlocal latest_us
        latest_us = max(latest_us, clock())
        return latest_us

    return now_us
