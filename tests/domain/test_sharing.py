"""Shares of a fleet's ceilings: what is granted never adds up to more than the ceiling."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.domain.sharing import (
    MARGIN_US,
    RESERVE_SECONDS,
    SILENT_US,
    Demand,
    grant,
    kept,
    lapses_us,
    learning_us,
    lowest_ceiling,
    period_us,
    target_free,
)
from sidecar.domain.windows import MINUTE_US, Window

AMOUNTS = st.integers(0, 2**62)
LIMITS = st.integers(-(2**62), 2**62)
HOLDERS = st.integers(0, 2000)
DEMANDS = st.builds(Demand, AMOUNTS, AMOUNTS, AMOUNTS, AMOUNTS, AMOUNTS)


@pytest.mark.property
@given(DEMANDS, LIMITS, AMOUNTS, HOLDERS)
def test_a_share_grows_only_within_the_limit(
    demand: Demand, limit: int, others: int, holders: int
) -> None:
    """G1, G3: with all that is taken; without room for more it stays as it is."""
    granted = grant(demand, limit, others, holders)
    taken = max(granted.granted, demand.used) + others
    assert granted.granted >= demand.have
    assert granted.granted == demand.have or taken <= limit
    assert granted.room == max(0, limit - taken)


@pytest.mark.property
@given(DEMANDS, LIMITS, AMOUNTS, HOLDERS)
def test_a_need_is_covered_whenever_there_is_room_for_it(
    demand: Demand, limit: int, others: int, holders: int
) -> None:
    """Whole or not at all, and a wish at most in part of an equal part."""
    granted = grant(demand, limit, others, holders)
    room = max(0, limit - others - demand.taken)
    assert granted.is_short == (demand.need > room)
    most = demand.wish
    if not granted.is_short and demand.need:
        assert granted.granted >= demand.used + demand.need
        most += demand.need
    assert granted.granted <= max(demand.have, demand.taken + most)


@pytest.mark.property
@given(DEMANDS, LIMITS, AMOUNTS, HOLDERS)
def test_a_wish_leaves_half_of_the_room(
    demand: Demand, limit: int, others: int, holders: int
) -> None:
    """Many wishes one after the other leave something for each that comes later."""
    granted = grant(demand._replace(need=0), limit, others, holders)
    room = max(0, limit - others - demand.taken)
    assert granted.granted - demand.taken <= room // (2 * max(1, holders))


@pytest.mark.property
@given(DEMANDS, LIMITS, AMOUNTS, HOLDERS)
def test_closed_books_grant_nothing(demand: Demand, limit: int, others: int, holders: int) -> None:
    """G8, L9: a share stays as its holder has it."""
    assert grant(demand, limit, others, holders, closed=True).granted == demand.have


@pytest.mark.property
@given(st.lists(st.tuples(AMOUNTS, AMOUNTS, st.integers(0, 2)), max_size=30), AMOUNTS)
def test_any_row_of_grants_and_returns_stays_within_the_ceiling(
    turns: list[tuple[int, int, int]], ceiling: int
) -> None:
    """G1: three holders ask, wish and give back in any order."""
    shares = [0, 0, 0]
    for need, wish, holder in turns:
        demand = Demand(shares[holder] // (1 + need % 2), 0, 0, need, wish)
        others = sum(shares) - shares[holder]
        shares[holder] = grant(demand, ceiling, others, len(shares)).granted
        assert sum(shares) <= ceiling


@pytest.mark.property
@given(st.floats(0, 1e12), LIMITS, LIMITS, HOLDERS, AMOUNTS)
def test_a_target_is_for_half_a_minute_and_at_most_a_fair_part(
    per_second: float, room: int, free: int, holders: int, largest: int
) -> None:
    """Or nothing, where not even one of the largest calls would fit."""
    target = target_free(per_second, room, free, holders, largest)
    assert 0 <= target <= per_second * RESERVE_SECONDS
    assert target == 0 or target >= largest
    assert target * 2 * max(1, holders) <= max(0, room) + max(0, free)


@pytest.mark.property
@given(AMOUNTS, AMOUNTS, AMOUNTS, st.booleans(), st.booleans())
def test_a_holder_keeps_what_it_has_used_and_never_more_than_its_share(
    granted: int, used: int, target: int, wanted: bool, idle: bool
) -> None:
    """G3: giving back is no way to get more; and one that was asked gives back all it can."""
    keeps = kept(granted, used, target, wanted_elsewhere=wanted, idle=idle)
    assert min(granted, used) <= keeps <= granted
    if wanted or idle:
        assert keeps == min(granted, used)
    else:
        assert keeps >= min(granted, used + target)


@pytest.mark.property
@given(st.none() | AMOUNTS, AMOUNTS, LIMITS, AMOUNTS)
def test_calls_under_the_ceiling_of_a_share_find_it_within_theirs(
    recorded: int | None, asked: int, adjusted: int, total: int
) -> None:
    """Under the lowest ceiling of the two only if all shares are within it."""
    ceiling = lowest_ceiling(recorded, asked, adjusted, total)
    assert ceiling in {recorded, asked}
    if recorded is not None and ceiling < max(recorded, asked):
        assert total <= ceiling - adjusted


@pytest.mark.parametrize(
    ("window", "busy_until_us", "until_us"),
    [
        (Window.MINUTE, 0, 1000 + SILENT_US + MARGIN_US + MINUTE_US),
        (Window.CONCURRENT, 0, 1000 + SILENT_US + MARGIN_US),
        (Window.CONCURRENT, 10 * MINUTE_US, 10 * MINUTE_US + MARGIN_US),
        (Window.HOUR, 10 * MINUTE_US, None),
        (Window.TOTAL, 0, None),
    ],
)
def test_only_timeless_shares_lapse(
    window: Window, busy_until_us: int, until_us: int | None
) -> None:
    """G6: a calendar share counts until its window ends."""
    assert until_us == lapses_us(window, 1000, busy_until_us)


@pytest.mark.property
@given(HOLDERS)
def test_books_learn_for_longer_than_holders_are_silent(holders: int) -> None:
    """G8: each live holder exchanges within the time, 20 % late at most."""
    assert learning_us(holders) > period_us(holders) * 1.2
