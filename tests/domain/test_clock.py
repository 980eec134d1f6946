"""The clock of decisions never goes back, and never jumps far ahead."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.domain.clock import (
    DAY_US,
    MAX_IDLE_DAYS,
    MAX_JUMP_US,
    SECOND_US,
    ClockJumpedError,
    GuardedClock,
    check_start,
    format_length,
    to_us,
)

NOON = to_us(datetime(2026, 11, 10, 12, tzinfo=UTC))
YEAR = 365 * DAY_US

steps = st.tuples(st.integers(-(10**10), 10**10), st.integers(0, 10**9))
"""How far the system's clock moves, and the steady one."""


class Machine:
    """A machine with both clocks, and the time that decisions take from them."""

    def __init__(self, floor_us: int = 0) -> None:
        """Start at noon."""
        self.wall_us, self.steady_us = NOON, 77
        self.now = GuardedClock(lambda: self.wall_us, lambda: self.steady_us, floor_us)

    def move(self, wall_us: int, steady_us: int) -> int:
        """Move both clocks; return the time of decisions."""
        self.wall_us += wall_us
        self.steady_us += steady_us
        return self.now()


@pytest.mark.property
@given(st.lists(steps), st.integers(NOON - 10**10, NOON + 10**10))
def test_a_guarded_clock_never_goes_back(moves: list[tuple[int, int]], floor_us: int) -> None:
    """L9: whatever the system clock does, time stands still or goes on."""
    machine = Machine(floor_us)
    times_us = [machine.move(*move) for move in moves]
    assert times_us == sorted(times_us)
    assert all(floor_us <= at_us for at_us in times_us)


@pytest.mark.property
@given(st.lists(steps))
def test_no_reading_moves_the_time_far_beyond_what_has_passed(moves: list[tuple[int, int]]) -> None:
    """L9: by each reading, at most the time that has passed, and MAX_JUMP_US."""
    machine = Machine()
    before_us, passed_us = machine.now(), 0
    for wall_us, steady_us in moves:
        now_us = machine.move(wall_us, steady_us)
        passed_us += steady_us
        assert now_us <= before_us + passed_us + MAX_JUMP_US
        if now_us > before_us:
            before_us, passed_us = now_us, 0


def test_a_jump_ahead_stops_decisions_until_the_clock_is_back() -> None:
    """L9: meanwhile the time goes on as the steady clock does."""
    machine = Machine()
    machine.now.check()
    assert machine.move(YEAR, SECOND_US) == NOON + SECOND_US
    with pytest.raises(ClockJumpedError, match="364 days ahead of the time that has passed"):
        machine.now.check()
    assert machine.now.behind_us() == SECOND_US - YEAR
    assert machine.move(60 * SECOND_US, 60 * SECOND_US) == NOON + 61 * SECOND_US
    assert machine.move(2 * SECOND_US - YEAR, SECOND_US) == NOON + 62 * SECOND_US
    machine.now.check()


def test_a_clock_that_was_set_back_may_be_set_right_again() -> None:
    """L9: the time stands still, and then goes on where the clock was right all along."""
    machine = Machine()
    assert machine.move(-DAY_US, SECOND_US) == NOON
    assert machine.now.behind_us() == DAY_US
    machine.now.check()
    assert machine.move(DAY_US + SECOND_US, 0) == NOON + SECOND_US
    machine.now.check()


def test_a_machine_that_slept_goes_on() -> None:
    """The steady clock counts sleep, so both have moved by the same."""
    machine = Machine()
    assert machine.move(YEAR, YEAR) == NOON + YEAR
    machine.now.check()


def test_a_start_long_after_the_last_entry_needs_the_day() -> None:
    """L9: without a steady clock to compare with, a person says which day it is."""
    late = NOON + (MAX_IDLE_DAYS + 1) * DAY_US
    day = f"{datetime(2026, 11, 10, tzinfo=UTC) + timedelta(MAX_IDLE_DAYS + 1):%Y-%m-%d}"
    assert f"start with --confirm-clock {day}" in check_start(NOON, late, "")
    assert check_start(NOON, late, "2026-11-10")
    assert not check_start(NOON, late, day)
    assert not check_start(NOON, late - DAY_US, "")
    assert not check_start(NOON, NOON - YEAR, "")
    assert not check_start(0, late, "")


@pytest.mark.parametrize(
    ("length_us", "text"),
    [
        (90 * SECOND_US, "90 s"),
        (2 * DAY_US - 1, "172,799 s"),
        (2 * DAY_US, "2 days"),
        (31 * DAY_US + 5, "31 days"),
    ],
)
def test_a_length_of_time_is_in_days_from_two_days_on(length_us: int, text: str) -> None:
    """Nobody counts the seconds of a month."""
    assert format_length(length_us) == text
