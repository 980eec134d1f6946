"""Forecasts of budgets, checked against exact fractions."""

from datetime import UTC
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.operator_ledger import DAY, HOUR, MINUTE, NOON
from support.reservations import limit

from sidecar.domain.amounts import format_estimate
from sidecar.domain.decisions import Meter
from sidecar.domain.forecast import RECENT_US, BudgetForecast, recent_us
from sidecar.domain.spend_report import grouped, sparkline
from sidecar.domain.windows import Calendar, Window

amounts = st.integers(0, 10**15)


def forecast(
    *,
    ceiling: int = 1000,
    spent: int = 0,
    held: int = 0,
    recent: int = 0,
    window: Window = Window.DAY,
    at_us: int = NOON,
    refused_at_us: int | None = None,
) -> BudgetForecast:
    """Return a budget's forecast at noon."""
    span = Calendar().span(window, at_us)
    one = limit(ceiling, Meter.COST, window)
    measured_us = recent_us(window, at_us - span.start_us)
    return BudgetForecast(
        one, ceiling, span, spent, held, at_us, recent, measured_us, refused_at_us
    )  # fmt: skip


forecasts = st.builds(
    forecast,
    ceiling=amounts,
    spent=amounts,
    held=amounts,
    recent=amounts,
    window=st.sampled_from(list(RECENT_US)),
    at_us=st.integers(NOON, NOON + 40 * DAY),
)


@pytest.mark.property
@given(forecasts)
def test_a_budget_runs_out_at_the_first_microsecond_at_which_its_pace_has_taken_all(
    one: BudgetForecast,
) -> None:
    """Within the window or not at all; now, if nothing is left."""
    timings = Fraction(one.recent, one.recent_us)
    found = one.exhausted_at_us
    if one.used >= one.ceiling:
        assert found == one.at_us
    elif found is None:
        assert one.used + timings * (one.span.end_us - 1 - one.at_us) < one.ceiling
    else:
        assert one.at_us < found < one.span.end_us
        assert one.used + timings * (found - one.at_us) >= one.ceiling
        assert one.used + timings * (found - 1 - one.at_us) < one.ceiling


@pytest.mark.property
@given(forecasts, st.integers(1, 10**6))
def test_spending_faster_never_lasts_longer(one: BudgetForecast, more: int) -> None:
    """A budget that is used up sooner is more urgent."""
    faster = forecast(
        ceiling=one.ceiling,
        spent=one.spent,
        held=one.held,
        recent=one.recent + more,
        window=one.limit.window,
        at_us=one.at_us,
    )
    assert faster.urgency <= one.urgency
    assert faster.used_at(one.span.end_us) >= one.used_at(one.span.end_us)


@pytest.mark.parametrize(
    ("one", "expected"),
    [
        (forecast(spent=400, recent=100), "not today"),  # 18 hours are too many
        (forecast(spent=400, held=300, recent=300), "≈ 2100-11-10 15:00"),
        (forecast(spent=700, held=300), "used up"),
        (forecast(spent=1200), "used up"),
        (forecast(spent=999), "not today"),
        (forecast(spent=999, refused_at_us=NOON - HOUR), "refuses calls"),
        (forecast(spent=999, refused_at_us=NOON - 4 * HOUR), "not today"),
        (forecast(spent=400, recent=300, refused_at_us=NOON), "≈ 2100-11-10 18:00"),
        (forecast(ceiling=0), "used up"),
    ],
)
def test_the_verdict_says_when_or_why_not(one: BudgetForecast, expected: str) -> None:
    """300 in the last three hours are 100 an hour; holds are assumed to stay."""
    assert one.verdict(UTC) == expected


def test_the_pace_is_measured_over_the_recent_part_of_the_window() -> None:
    """Less where the window is younger, and a minute at least."""
    assert recent_us(Window.MONTH, 9 * DAY) == DAY
    assert recent_us(Window.MONTH, 7 * HOUR) == 7 * HOUR
    assert recent_us(Window.HOUR, HOUR) == 15 * MINUTE
    assert recent_us(Window.DAY, 1) == MINUTE
    assert forecast(recent=300).hourly == 100


def test_an_estimate_is_written_with_three_digits() -> None:
    """Three digits show that it is not an exact sum."""
    assert format_estimate(Meter.COST, 4_519_770_750) == "≈ $4.51"
    assert format_estimate(Meter.TOKENS, 2_961_937) == "≈ 2,960,000"
    assert format_estimate(Meter.REQUESTS, 7) == "≈ 7"


@pytest.mark.property
@given(st.lists(st.integers(0, 10**18)), st.integers(1, 40))
def test_a_sparkline_has_a_mark_for_each_group_of_days(daily: list[int], most: int) -> None:
    """Grouping loses nothing; the largest amount is a full bar, 0 is a dot."""
    groups = grouped(daily, most)
    line = sparkline(groups)
    assert (sum(groups), len(line), len(line) <= most) == (sum(daily), len(groups), True)
    assert [mark == "·" for mark in line] == [amount == 0 for amount in groups]
    assert ("█" in line) == any(groups)
