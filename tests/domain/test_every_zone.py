"""The calendar in every time zone, around every change of its clocks."""

from collections.abc import Iterator
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import settings
from support.zones import FIRST, LAST, changes

from sidecar.domain.clock import SECOND_US, to_datetime, to_us
from sidecar.domain.windows import HORIZON_US, Calendar, Span, Window

MINUTE_US, HOUR_US, DAY_US = 60 * SECOND_US, 3600 * SECOND_US, 86_400 * SECOND_US

AROUND = {Window.HOUR: 6 * HOUR_US, Window.DAY: 2 * DAY_US, Window.MONTH: DAY_US}
"""How long before and after a change its windows are looked at."""

USUAL_US = {
    Window.HOUR: (HOUR_US, HOUR_US),
    Window.DAY: (DAY_US, DAY_US),
    Window.MONTH: (28 * DAY_US, 31 * DAY_US),
}


def around_changes() -> list[tuple[str, int]]:
    """Return each change of each zone."""
    return [(name, us) for name, moments in changes().items() for us in moments]


def walk(zone: ZoneInfo, window: Window, from_us: int, until_us: int) -> Iterator[Span]:
    """Return the windows of a stretch of time; each is looked for anew."""
    while from_us < until_us:
        span = Calendar(zone).span(window, from_us)
        yield span
        from_us = span.end_us


def moved_us(zone: ZoneInfo, at_us: int) -> int:
    """Return by how much the clocks of a zone change at this moment, forward or back."""
    before, after = (to_datetime(us).astimezone(zone).utcoffset() for us in (at_us - 1, at_us))
    assert before is not None
    assert after is not None
    return abs(after - before) // timedelta(microseconds=1)


def begun(window: Window, shown: datetime) -> datetime:
    """Return when the hour, day or month of what a clock shows begins, on that clock."""
    hour = shown.replace(minute=0, second=0, microsecond=0, tzinfo=None, fold=0)
    if window is Window.HOUR:
        return hour
    return hour.replace(hour=0) if window is Window.DAY else hour.replace(hour=0, day=1)


@pytest.mark.parametrize("window", AROUND)
def test_each_moment_is_in_one_window_in_every_zone(window: Window) -> None:
    """L9: around every change of the clocks, windows neither overlap nor leave a gap.

    Each moment of a window finds that window, none is empty, and each is as long as usual,
    but for as much as the clocks change. None outlives how far back the ledger looks.
    """
    for name, change_us in around_changes():
        zone = ZoneInfo(name)
        moved = moved_us(zone, change_us)
        least_us, most_us = USUAL_US[window]
        from_us, until_us = change_us - AROUND[window], change_us + AROUND[window]
        before_us = Calendar(zone).span(window, from_us).start_us
        for span in walk(zone, window, from_us, until_us):
            where = f"{name}, {window.value}, {to_datetime(span.start_us)}"
            start_us, end_us = span
            assert start_us == before_us, where
            for at_us in (start_us, (start_us + end_us) // 2, end_us - 1):
                assert Calendar(zone).span(window, at_us) == span, where
            assert max(1, least_us - moved) <= end_us - start_us <= most_us + moved, where
            assert end_us - start_us <= HORIZON_US[window], where
            before_us = end_us


@pytest.mark.parametrize("window", AROUND)
def test_a_window_begins_when_the_clocks_first_show_it_in_every_zone(window: Window) -> None:
    """L9: what the clocks repeat belongs to the window that they had reached already."""
    for name, change_us in around_changes():
        zone, reached = ZoneInfo(name), datetime.min  # noqa: DTZ901 - what a clock shows
        begins: dict[datetime, int] = {}
        for at_us in range(change_us - 6 * HOUR_US, change_us + 6 * HOUR_US, 15 * MINUTE_US):
            shown = to_datetime(at_us).astimezone(zone)
            reached = max(reached, begun(window, shown))
            start_us = Calendar(zone).span(window, at_us).start_us
            where = f"{name}, {window.value}, {to_datetime(at_us)}"
            assert begins.setdefault(reached, start_us) == start_us, where
        assert len(set(begins.values())) == len(begins), f"{name}, {window.value}"


def test_days_are_whole_hours_and_months_whole_days_in_every_zone() -> None:
    """L6: a day begins with an hour, and a month with a day: no call is in two of either."""
    for name in changes():
        zone = ZoneInfo(name)
        for month in walk(zone, Window.MONTH, to_us(FIRST), to_us(LAST)):
            assert Calendar(zone).span(Window.DAY, month.start_us).start_us == month.start_us, name
        for change_us in changes()[name]:
            for day in walk(zone, Window.DAY, change_us - DAY_US, change_us + DAY_US):
                hour = Calendar(zone).span(Window.HOUR, day.start_us)
                assert hour.start_us == day.start_us, f"{name}, {to_datetime(day.start_us)}"


@pytest.mark.property
def test_every_day_of_every_zone_has_a_date_of_its_own() -> None:
    """The days of ten years follow each other, and no date comes twice.

    The short run looks at the days around changes of the clocks.
    """
    long = settings.get_current_profile_name() == "long"
    for name, moments in changes().items():
        zone = ZoneInfo(name)
        stretches = [(us - 3 * DAY_US, us + 3 * DAY_US) for us in moments]
        if long:
            stretches = [(to_us(FIRST), to_us(LAST))]
        for from_us, until_us in stretches:
            days = list(walk(zone, Window.DAY, from_us, until_us))
            dates = [to_datetime(day.start_us).astimezone(zone).date() for day in days]
            assert dates == sorted(set(dates)), f"{name}, {to_datetime(from_us)}"
