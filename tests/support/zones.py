"""Every time zone, and when its clocks change."""

from datetime import UTC, datetime, timedelta
from functools import cache
from zoneinfo import ZoneInfo, available_timezones

from sidecar.domain.clock import to_datetime, to_us

FIRST, LAST = datetime(2026, 1, 1, tzinfo=UTC), datetime(2037, 1, 1, tzinfo=UTC)
"""The time that is looked at; from 2037 on, files of zones only repeat a rule."""

_STEP = timedelta(days=3)


@cache
def changes() -> dict[str, tuple[int, ...]]:
    """Return each zone with the moments at which its clocks change, in microseconds.

    Of zones that always show the same time, only the first is included.
    """
    found: dict[object, str] = {}
    times = {name: _changes(ZoneInfo(name)) for name in sorted(available_timezones())}
    for name, moments in times.items():
        zone = ZoneInfo(name)
        offsets = (to_datetime(us).astimezone(zone).utcoffset() for us in (to_us(FIRST), *moments))
        found.setdefault((moments, tuple(offsets)), name)
    return {name: times[name] for name in found.values()}


def _changes(zone: ZoneInfo) -> tuple[int, ...]:
    found, at = [], FIRST
    offset = at.astimezone(zone).utcoffset()
    while at < LAST:
        later = at + _STEP
        then = later.astimezone(zone).utcoffset()
        if then != offset:
            found.append(_between(zone, at, later))
        at, offset = later, then
    return tuple(found)


def _between(zone: ZoneInfo, before: datetime, after: datetime) -> int:
    """Return the second at which the clocks change, by bisection."""
    offset = before.astimezone(zone).utcoffset()
    while after - before > timedelta(seconds=1):
        middle = before + timedelta(seconds=(after - before) // timedelta(seconds=2))
        if middle.astimezone(zone).utcoffset() == offset:
            before = middle
        else:
            after = middle
    return to_us(after)
