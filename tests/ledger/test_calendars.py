"""The ledger where clocks change in odd ways, and where its time zone or an anchor changes."""

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.reservations import limit, reservation, settlement
from support.zones import changes

from sidecar.domain.clock import SECOND_US, to_us
from sidecar.domain.decisions import Budget, Charge, Decision, Effect, Meter, ReservationRequest
from sidecar.domain.forecast import BudgetForecast
from sidecar.domain.windows import CALENDAR, DEFAULT_ANCHOR, Anchor, Calendar, Span, Window
from sidecar.ledger import ledger_file
from sidecar.ledger.reports import Reports
from sidecar.ledger.sqlite import SqliteLedger
from sidecar.ledger.verify import verify

HOUR_US, DAY_US = 3600 * SECOND_US, 86_400 * SECOND_US
LIMITS = [limit(10**9, Meter.TOKENS, window) for window in CALENDAR]
ODD = ("Pacific/Chatham", "Antarctica/Troll", "Australia/Lord_Howe", "Africa/Cairo", "UTC")


def us(text: str) -> int:
    """Read a time in UTC."""
    return to_us(datetime.fromisoformat(text).replace(tzinfo=UTC))


class Rows:
    """What the rows of each window have to be: the current one and those that have not ended."""

    def __init__(self) -> None:
        """Start with none."""
        self._rows: dict[tuple[Window, int], tuple[int, int]] = {}

    def counted(self, window: Window, span: Span, at_us: int) -> int:
        """Return what counts now, in this window."""
        return sum(
            amount
            for (of, start_us), (end_us, amount) in self._rows.items()
            if of is window and (end_us > at_us or start_us == span.start_us)
        )

    def add(self, window: Window, span: Span, amount: int) -> None:
        """Count an amount in the current window, which ends as the calendar now says."""
        _, before = self._rows.get((window, span.start_us), (0, 0))
        self._rows[window, span.start_us] = (span.end_us, before + amount)


class RezonedLedger:
    """A ledger that is opened in one time zone after another, with the responses it has to give."""

    def __init__(self, path: Path) -> None:
        """Keep it in this file."""
        self._path = path
        self._rows = Rows()
        self._changed_at_us = 0  # the last call before the ledger was opened in this zone

    def call(self, zone: str, *times_us: int, anchor: Anchor = DEFAULT_ANCHOR) -> None:
        """Hold calls at these times in a zone, and compare each answer with what is right."""
        asyncio.run(self._call(zone, times_us, anchor))

    async def _call(self, zone: str, times_us: Sequence[int], anchor: Anchor) -> None:
        ledger, calendar = SqliteLedger(self._path, ZoneInfo(zone)), Calendar(ZoneInfo(zone))
        limits = [one._replace(anchor=anchor) for one in LIMITS]
        for number, at_us in enumerate(times_us):
            tokens = 100 + number
            spans = [calendar.span(window, at_us, anchor) for window in CALENDAR]
            expected = [
                self._rows.counted(*one, at_us) for one in zip(CALENDAR, spans, strict=True)
            ]
            assert [b.held for b in ledger.budgets(limits, at_us)] == expected, zone
            decision = await ledger.decide(reservation(at_us, *limits, tokens=tokens))
            assert decision.effect is Effect.ALLOW
            assert [b.held for b in decision.budgets] == [held + tokens for held in expected], zone
            for window, span in zip(CALENDAR, spans, strict=True):
                self._rows.add(window, span, tokens)
            # In one microsecond a report cannot know which anchor was the last one.
            if at_us > self._changed_at_us:
                self._compare_report(ZoneInfo(zone), at_us, decision.budgets)
        await ledger.close()
        self._changed_at_us = max((self._changed_at_us, *times_us))

    def _compare_report(self, zone: ZoneInfo, at_us: int, budgets: Sequence[Budget]) -> None:
        """See that a report has each budget as the decision that was just made had it."""
        with closing(ledger_file.open_reader(self._path)) as reader:
            found = {one.limit.rule: one for one in Reports(reader, at_us, zone).forecasts()}
        for budget in budgets:
            one = found.pop(budget.rule)
            span = (budget.window_start_us, budget.window_end_us)
            assert (one.span, one.spent, one.held) == (span, budget.spent, budget.held), zone
        assert not found

    def verify(self) -> None:
        """See that it adds up."""
        with closing(ledger_file.open_reader(self._path)) as reader:
            assert verify(reader)[0] == []


@contextmanager
def rezoned_ledger() -> Iterator[RezonedLedger]:
    """A new ledger."""
    with TemporaryDirectory() as folder:
        one = RezonedLedger(Path(folder) / "ledger.sqlite")
        yield one
        one.verify()


@pytest.mark.parametrize(
    ("zone", "at"),
    [
        ("Pacific/Chatham", "2027-04-03T14:05"),
        ("Pacific/Chatham", "2027-09-25T14:05"),
        ("Antarctica/Troll", "2027-10-31T01:30"),
        ("Antarctica/Troll", "2027-03-28T01:30"),
        ("Australia/Lord_Howe", "2027-04-03T15:05"),
        ("Africa/Cairo", "2027-10-28T21:30"),
        ("America/Nuuk", "2027-03-28T01:30"),
    ],
)
def test_calls_around_a_change_of_the_clocks_count_in_one_window_each(zone: str, at: str) -> None:
    """L8: a call every ten minutes is decided, and counts with those of its hour and day.

    Each hour the sidecar starts anew: nothing that it remembers of the calendar helps it.
    """
    with rezoned_ledger() as one:
        for from_us in range(us(at) - 3 * HOUR_US, us(at) + 3 * HOUR_US, HOUR_US):
            one.call(zone, *range(from_us, from_us + HOUR_US, HOUR_US // 6))


@pytest.mark.parametrize(
    ("before", "after", "first", "second"),
    [
        ("Europe/London", "UTC", "2027-03-31T22:30", "2027-03-31T23:30"),
        ("Europe/London", "UTC", "2027-03-31T23:10", "2027-03-31T23:30"),
        ("UTC", "Europe/London", "2027-03-31T22:30", "2027-03-31T23:30"),
        ("Asia/Kolkata", "UTC", "2027-03-31T18:40", "2027-03-31T18:50"),
        ("Pacific/Kiritimati", "Pacific/Pago_Pago", "2027-03-31T09:30", "2027-03-31T10:30"),
        ("Pacific/Pago_Pago", "Pacific/Kiritimati", "2027-03-31T10:30", "2027-03-31T11:30"),
    ],
)
def test_a_ledger_that_changes_its_zone_counts_each_row_that_has_not_ended(
    before: str, after: str, first: str, second: str
) -> None:
    """L1: what either calendar still counts is counted, once, also after the months have ended."""
    with rezoned_ledger() as one:
        one.call(before, us(first) - DAY_US, us(first))
        one.call(after, *range(us(second), us(second) + 3 * HOUR_US, HOUR_US // 3))
        one.call(before, us(second) + 4 * HOUR_US, us(second) + 30 * HOUR_US)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (Anchor(1), Anchor(5)),
        (Anchor(5), Anchor(1)),
        (Anchor(1), Anchor(1, 6)),
        (Anchor(7, 23), Anchor(3, 2)),
    ],
)
def test_a_limit_that_changes_its_anchor_counts_each_row_that_has_not_ended(
    before: Anchor, after: Anchor
) -> None:
    """L1: what was spent before the change counts until its window ends, and never twice."""
    at_us = us("2027-03-30T00:10")
    with rezoned_ledger() as one:
        one.call("UTC", *range(at_us, at_us + 10 * DAY_US, 31 * HOUR_US), anchor=before)
        at_us += 10 * DAY_US
        one.call("UTC", *range(at_us, at_us + 8 * DAY_US, 31 * HOUR_US), anchor=after)
        one.call("UTC", *range(at_us + 8 * DAY_US, at_us + 40 * DAY_US, DAY_US), anchor=before)


def test_settlements_and_adjustments_find_the_window_of_the_anchor(tmp_path: Path) -> None:
    """L6: they come without the policies, and later than the window."""
    path, at_us = tmp_path / "ledger.sqlite", us("2027-03-20T12:00")
    month = limit(1000, window=Window.MONTH)._replace(anchor=Anchor(15, 6))
    (held,) = opened(path, "UTC", reservation(at_us, month))

    async def settle_and_adjust(at_us: int) -> list[Budget]:
        ledger = SqliteLedger(path)
        try:
            (settled,) = (await ledger.settle(held.hold_id, settlement(at_us, 30))).budgets
            return [settled, await ledger.adjust(month.rule, "lab", 5, "eve", "a test", at_us)]
        finally:
            await ledger.close()

    for spent, at, begins in (
        (30, "2027-03-20T12:00", "2027-03-15T06:00"),
        (0, "2027-04-15T06:00", "2027-04-15T06:00"),
    ):
        settled, adjusted = asyncio.run(settle_and_adjust(us(at)))
        assert (settled.window_start_us, settled.spent) == (us(begins), spent)
        assert (adjusted.window_start_us, adjusted.spent) == (us(begins), spent + 5)


def test_a_hold_from_before_a_change_of_the_anchor_settles_into_its_own_window(
    tmp_path: Path,
) -> None:
    """L6: and a report shows the window that the last call counted in."""
    path, at_us = tmp_path / "ledger.sqlite", us("2027-03-20T12:00")
    old = limit(1000, window=Window.MONTH)
    new = old._replace(anchor=Anchor(15))
    (held,) = opened(path, "UTC", reservation(at_us, old))
    (second,) = opened(path, "UTC", reservation(at_us, new))
    assert [(b.window_start_us, b.held) for b in second.budgets] == [(us("2027-03-15"), 200)]

    async def settle() -> Charge:
        ledger = SqliteLedger(path)
        try:
            return await ledger.settle(held.hold_id, settlement(at_us, 30))
        finally:
            await ledger.close()

    (budget,) = asyncio.run(settle()).budgets
    assert (budget.window_start_us, budget.spent, budget.held) == (us("2027-03-01"), 30, 100)
    forecast = only_forecast(path, at_us)
    assert forecast.span == Span(us("2027-03-15"), us("2027-04-15"))
    assert (forecast.spent, forecast.held) == (30, 100)


@pytest.mark.parametrize("again", [True, False], ids=["A, B, A", "A, B"])
def test_reports_and_adjustments_follow_the_anchor_of_the_last_call(
    again: bool, tmp_path: Path
) -> None:
    """Also where the limit goes back to an anchor whose window is older than the one between."""
    path, at_us = tmp_path / "ledger.sqlite", us("2027-03-20T12:00")
    first = limit(1000, window=Window.MONTH)
    second = first._replace(anchor=Anchor(15), ceiling=900)
    calls = [first, second, *([first._replace(ceiling=800)] if again else [])]
    begins, ceiling = ("2027-03-01", 800) if again else ("2027-03-15", 900)
    for number, one in enumerate(calls):
        opened(path, "UTC", reservation(at_us + number, one))
    forecast = only_forecast(path, at_us)
    assert (forecast.span.start_us, forecast.ceiling) == (us(begins), ceiling)
    assert forecast.held == 100 * len(calls)
    adjusted = adjust(path, first.rule, "lab", at_us)
    assert (adjusted.window_start_us, adjusted.ceiling) == (us(begins), ceiling)
    assert (adjusted.spent, adjusted.held) == (5, 100 * len(calls))
    other = adjust(path, first.rule, "a scope without calls", at_us)
    assert (other.window_start_us, other.ceiling) == (us(begins), None)


def test_a_scope_without_calls_since_a_change_has_the_window_of_the_others(tmp_path: Path) -> None:
    """Its next call would count in that window, so an adjustment and a report are of it."""
    path, at_us = tmp_path / "ledger.sqlite", us("2027-03-20T12:00")
    old = limit(1000, window=Window.MONTH)
    new = old._replace(anchor=Anchor(15), scope="shop")
    opened(path, "UTC", reservation(at_us, old))
    opened(path, "UTC", reservation(at_us + 1, new))
    month = Span(us("2027-03-15"), us("2027-04-15"))
    assert adjust(path, old.rule, "lab", at_us).window_start_us == month.start_us
    with closing(ledger_file.open_reader(path)) as reader:
        forecasts = Reports(reader, at_us).forecasts()
    assert [(one.limit.scope, one.span, one.used) for one in forecasts] == [
        ("lab", month, 105), ("shop", month, 100),
    ]  # fmt: skip


@pytest.mark.parametrize("again", [True, False], ids=["and back", "for good"])
def test_a_report_has_a_rule_once_after_a_change_of_its_window_or_meter(
    again: bool, tmp_path: Path
) -> None:
    """What it was before counts nothing any more: a total would be shown for ever."""
    path, at_us = tmp_path / "ledger.sqlite", us("2027-03-20T12:00")
    total = limit(1000, window=Window.TOTAL, rule="budget")
    month = limit(10**9, Meter.COST, Window.MONTH, rule="budget")
    for number, one in enumerate([total, month, total] if again else [total, month]):
        opened(path, "UTC", reservation(at_us + number, one))
    limit_now = only_forecast(path, at_us).limit
    now = total if again else month
    assert (limit_now.meter, limit_now.window) == (now.meter, now.window)
    assert adjust(path, "budget", "lab", at_us).meter is now.meter


def adjust(path: Path, rule: str, scope: str, at_us: int) -> Budget:
    """Open a ledger, and add 5 to what a budget has spent."""

    async def work() -> Budget:
        ledger = SqliteLedger(path)
        try:
            return await ledger.adjust(rule, scope, 5, "eve", "a test", at_us)
        finally:
            await ledger.close()

    return asyncio.run(work())


def opened(
    path: Path, zone: str, *calls: ReservationRequest, together: bool = False
) -> list[Decision]:
    """Open a ledger in a zone, decide calls, one by one or in one group, and close it."""

    async def decide() -> list[Decision]:
        ledger = SqliteLedger(path, ZoneInfo(zone))
        try:
            if together:
                return await asyncio.gather(*(ledger.decide(call) for call in calls))
            return [await ledger.decide(call) for call in calls]
        finally:
            await ledger.close()

    return asyncio.run(decide())


def test_a_group_on_both_sides_of_an_end_in_the_old_zone_counts_the_month_on(
    tmp_path: Path,
) -> None:
    """L1: a month that the old calendar has ended is the new one's still, within a group too."""
    path = tmp_path / "ledger.sqlite"
    month, at_us = limit(350, window=Window.MONTH), us("2027-03-31T22:59")
    opened(path, "Europe/London", reservation(at_us, month))
    times = (at_us, at_us + 59 * SECOND_US, at_us + 60 * SECOND_US, at_us + 61 * SECOND_US)
    requests = [reservation(one, month) for one in times]
    decisions = opened(path, "UTC", *requests, together=True)
    assert [one.effect for one in decisions] == [Effect.ALLOW] * 2 + [Effect.DENY] * 2


def test_a_month_that_goes_on_in_another_zone_says_when_it_ends(tmp_path: Path) -> None:
    """L1: retry_after, adjustments and reports take the month's end from the calendar in force."""
    path = tmp_path / "ledger.sqlite"
    month, at_us = limit(250, window=Window.MONTH), us("2027-03-31T23:30")
    opened(path, "Europe/London", reservation(at_us - HOUR_US, month, tokens=200))
    (refused,) = opened(path, "UTC", reservation(at_us, month))
    assert (refused.effect, refused.retry_after_us) == (Effect.DENY, HOUR_US // 2)

    async def adjust() -> Budget:
        ledger = SqliteLedger(path)
        try:
            return await ledger.adjust(month.rule, month.scope, 10, "eve", "a test", at_us)
        finally:
            await ledger.close()

    adjusted = asyncio.run(adjust())
    assert (adjusted.spent, adjusted.held) == (10, 200)
    forecast = only_forecast(path, at_us)
    assert (forecast.spent, forecast.held) == (10, 200)
    assert forecast.span == Calendar().span(Window.MONTH, at_us)


def test_a_report_has_the_ceiling_of_the_window_that_counts_now(tmp_path: Path) -> None:
    """Of a month that goes on and one that began in the old zone, the new calendar's is shown."""
    path, at_us = tmp_path / "ledger.sqlite", us("2027-03-31T23:30")
    old, new = (limit(ceiling, window=Window.MONTH) for ceiling in (1000, 900))
    opened(path, "Europe/London", reservation(at_us - HOUR_US, old), reservation(at_us, old))
    opened(path, "UTC", reservation(at_us, new))
    forecast = only_forecast(path, at_us)
    assert (forecast.ceiling, forecast.held) == (900, 300)
    assert forecast.span == Calendar().span(Window.MONTH, at_us)


def only_forecast(path: Path, at_us: int) -> BudgetForecast:
    """Return how the only budget stands."""
    with closing(ledger_file.open_reader(path)) as reader:
        (forecast,) = Reports(reader, at_us).forecasts()
    return forecast


@st.composite
def journeys(draw: st.DrawFn) -> tuple[list[tuple[str, Anchor]], list[int]]:
    """Draw zones and anchors that a ledger is opened with, in turn, and when it is called.

    That is around a change of the clocks, or the end of a month.
    """
    zones = draw(st.lists(st.sampled_from([*changes(), *ODD]), min_size=2, max_size=3))
    months = [us(f"{year}-{month:02}-01") for year in (2027, 2028) for month in range(1, 13)]
    changed = [at_us for zone in zones for at_us in changes().get(zone, ())]
    middle_us = draw(st.sampled_from(months + changed))
    minutes = draw(st.lists(st.integers(-30 * 60, 30 * 60), min_size=4, max_size=8))
    anchors = st.builds(Anchor, st.integers(1, 7), st.integers(0, 23))
    opened_with = [(zone, draw(st.just(DEFAULT_ANCHOR) | anchors)) for zone in zones]
    return opened_with, [middle_us + minute * 60 * SECOND_US for minute in sorted(minutes)]


@pytest.mark.property
@given(journeys())
def test_any_change_of_zone_or_anchor_counts_each_row_once(
    journey: tuple[list[tuple[str, Anchor]], list[int]],
) -> None:
    """L1: around changes of the clocks and ends of months, in any zones, with any anchors."""
    opened_with, times = journey
    step = -(-len(times) // len(opened_with))
    with rezoned_ledger() as one:
        for number, (zone, anchor) in enumerate(opened_with):
            one.call(zone, *times[number * step : (number + 1) * step], anchor=anchor)
