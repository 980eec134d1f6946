"""The calendar in every time zone, around every change of its clocks."""

import itertools
from collections.abc import Iterator
from datetime import datetime, time, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import settings
from support.zones import FIRST, LAST, changes

from sidecar.domain.clock import SECOND_US, to_datetime, to_us
from sidecar.domain.windows import (
    CALENDAR,
    DEFAULT_ANCHOR,
    HORIZON_US,
    Anchor,
    Calendar,
    Span,
    Window,
    is_inside,
)

MINUTE_US, HOUR_US, DAY_US = 60 * SECOND_US, 3600 * SECOND_US, 86_400 * SECOND_US

AROUND = {Window.HOUR: 6 * HOUR_US, Window.DAY: 2 * DAY_US}
"""How long before and after a change its windows are looked at; a day for longer windows."""

USUAL_US = {
    Window.HOUR: (HOUR_US, HOUR_US),
    Window.DAY: (DAY_US, DAY_US),
    Window.WEEK: (7 * DAY_US, 7 * DAY_US),
    Window.MONTH: (28 * DAY_US, 31 * DAY_US),
    Window.QUARTER: (90 * DAY_US, 92 * DAY_US),
    Window.YEAR: (365 * DAY_US, 366 * DAY_US),
}


def around_changes(window: Window) -> Iterator[tuple[str, int, Anchor]]:
    """Return each change of each zone, with the usual anchor and those of that very moment."""
    for name, moments in changes().items():
        for us in moments:
            for anchor in {DEFAULT_ANCHOR, *anchors_at(ZoneInfo(name), us, window)}:
                yield name, us, anchor


def anchors_at(zone: ZoneInfo, change_us: int, window: Window) -> Iterator[Anchor]:
    """Return the anchors of what the clocks show before and after a change."""
    for at_us in (change_us - 1, change_us):
        shown = to_datetime(at_us).astimezone(zone)
        match window:
            case Window.HOUR:
                yield DEFAULT_ANCHOR
            case Window.DAY:
                yield Anchor(hour=shown.hour)
            case Window.WEEK:
                yield Anchor(shown.isoweekday(), shown.hour)
            case _:
                yield Anchor(min(shown.day, 28), shown.hour)


def walk(
    zone: ZoneInfo, window: Window, from_us: int, until_us: int, anchor: Anchor = DEFAULT_ANCHOR
) -> Iterator[Span]:
    """Return the windows of a stretch of time; each is looked for anew."""
    while from_us < until_us:
        span = Calendar(zone).span(window, from_us, anchor)
        yield span
        from_us = span.end_us


def moved_us(zone: ZoneInfo, at_us: int) -> int:
    """Return by how much the clocks of a zone change at this moment, forward or back."""
    before, after = (to_datetime(us).astimezone(zone).utcoffset() for us in (at_us - 1, at_us))
    assert before is not None
    assert after is not None
    return abs(after - before) // timedelta(microseconds=1)


def begun(window: Window, shown: datetime, anchor: Anchor) -> datetime:
    """Return when the window of what a clock shows begins, on that clock.

    It is the latest of the beginnings around that are not after what is shown.
    """
    shown = shown.replace(tzinfo=None, fold=0)
    if window is Window.HOUR:
        return shown.replace(minute=0, second=0, microsecond=0)
    if window in (Window.DAY, Window.WEEK):
        dates = [shown.date() - timedelta(days=back) for back in range(8)]
        days = [date for date in dates if window is Window.DAY or date.isoweekday() == anchor.day]
    else:
        months = {Window.MONTH: range(1, 13), Window.QUARTER: range(1, 13, 3), Window.YEAR: [1]}
        years = (shown.year - 1, shown.year)
        days = [
            shown.date().replace(year, month, anchor.day)
            for year in years
            for month in months[window]
        ]
    return max(one for day in days if (one := datetime.combine(day, time(anchor.hour))) <= shown)


@pytest.mark.parametrize("window", CALENDAR)
def test_each_moment_is_in_one_window_in_every_zone(window: Window) -> None:
    """L9: around every change of the clocks, windows neither overlap nor leave a gap.

    Each moment of a window finds that window, none is empty, and each is as long as usual,
    but for as much as the clocks change. None outlives how far back the ledger looks.
    """
    least_us, most_us = USUAL_US[window]
    around_us = AROUND.get(window, DAY_US)
    for name, change_us, anchor in around_changes(window):
        zone = ZoneInfo(name)
        moved = moved_us(zone, change_us)
        if window in (Window.QUARTER, Window.YEAR):
            moved += DAY_US  # clocks that changed before or after, and may skip a date
        from_us, until_us = change_us - around_us, change_us + around_us
        before_us = Calendar(zone).span(window, from_us, anchor).start_us
        for span in walk(zone, window, from_us, until_us, anchor):
            where = f"{name}, {window.value}, {anchor}, {to_datetime(span.start_us)}"
            start_us, end_us = span
            assert start_us == before_us, where
            for at_us in (start_us, (start_us + end_us) // 2, end_us - 1):
                assert Calendar(zone).span(window, at_us, anchor) == span, where
            assert max(1, least_us - moved) <= end_us - start_us <= most_us + moved, where
            assert end_us - start_us <= HORIZON_US[window], where
            before_us = end_us


@pytest.mark.parametrize("window", CALENDAR)
def test_a_window_begins_when_the_clocks_first_show_it_in_every_zone(window: Window) -> None:
    """L9: what the clocks repeat belongs to the window that they had reached already."""
    for name, change_us, anchor in around_changes(window):
        zone, reached = ZoneInfo(name), datetime.min  # noqa: DTZ901 - what a clock shows
        calendar = Calendar(zone)
        begins: dict[datetime, int] = {}
        for at_us in range(change_us - 6 * HOUR_US, change_us + 6 * HOUR_US, 15 * MINUTE_US):
            shown = to_datetime(at_us).astimezone(zone)
            reached = max(reached, begun(window, shown, anchor))
            start_us = calendar.span(window, at_us, anchor).start_us
            where = f"{name}, {window.value}, {anchor}, {to_datetime(at_us)}"
            assert begins.setdefault(reached, start_us) == start_us, where
        assert len(set(begins.values())) == len(begins), f"{name}, {window.value}, {anchor}"


@pytest.mark.parametrize(("shorter", "longer"), [*itertools.combinations(CALENDAR, 2)])
def test_a_window_is_inside_another_if_each_of_those_begins_with_one(
    shorter: Window, longer: Window
) -> None:
    """L6: what is inside one longer window has to be in no other, also as the clocks change."""
    for name, change_us, anchor in around_changes(longer):
        zone, around_us = ZoneInfo(name), AROUND.get(longer, DAY_US)
        for span in walk(zone, longer, change_us - around_us, change_us + around_us, anchor):
            for its in (anchor, DEFAULT_ANCHOR):
                if is_inside(shorter, its, longer, anchor):
                    start_us = Calendar(zone).span(shorter, span.end_us, its).start_us
                    assert start_us == span.end_us, f"{name}, {anchor}, {to_datetime(start_us)}"


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
