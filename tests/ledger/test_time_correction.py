"""Corrections of the ledger's time: no window is given twice, and what waited goes on."""

import shutil
import sqlite3
import tempfile
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ledger.conftest import LedgerHarness
from support.older_ledger import file_of
from support.reservations import limit, reservation, settlement

from sidecar.domain.clock import DAY_US, SECOND_US, to_us
from sidecar.domain.decisions import Effect, HoldState, Limit
from sidecar.domain.windows import MINUTE_US, Calendar, Window
from sidecar.ledger import ledger_file
from sidecar.ledger.protocol import LedgerRefusedError
from sidecar.ledger.sqlite import SqliteLedger
from sidecar.ledger.time_correction import TimeCorrection, correct_time

NOON = to_us(datetime(2026, 11, 10, 12, tzinfo=UTC))
YEAR_US = 365 * DAY_US
DAILY, RATE = limit(100), limit(100, window=Window.MINUTE)
SIGNED = ("ada@example.com", "the clock was wrong")


def call(harness: LedgerHarness, at_us: int, *limits: Limit, tokens: int = 100) -> str:
    """Decide a call; return its hold, "" if it is denied."""
    one = reservation(at_us, *(limits or (DAILY,)), tokens=tokens)
    return harness.run(harness.ledger.decide(one)).hold_id


def correct(harness: LedgerHarness, to_us: int) -> list[TimeCorrection]:
    """Set the time back; return what was planned."""
    planned: list[TimeCorrection] = []
    harness.offline(lambda path: correct_time(path, to_us, *SIGNED, planned.append))
    return planned


def prune(harness: LedgerHarness, at_us: int, days: int = 35) -> int:
    """Prune all that is older; return how many decisions."""
    pruned = 0
    while gone := harness.run(harness.ledger.prune(at_us, days * DAY_US)):
        pruned += gone
    return pruned


def read(harness: LedgerHarness, query: str) -> list[Any]:
    """Read the file by hand."""
    return ledger_file.open_reader(harness.path).execute(query).fetchall()


ahead = st.integers(0, 2 * DAY_US)
steps = st.one_of(
    st.tuples(st.just("call"), st.integers(0, 90 * SECOND_US), st.integers(1, 3)),
    st.tuples(st.just("call"), st.integers(0, 3) | ahead, st.integers(1, 3)),
    st.tuples(st.just("correct"), st.integers(0, 90 * SECOND_US) | ahead, st.just(0)),
    st.tuples(st.just("prune"), st.integers(0, DAY_US), st.just(0)),
)
"""A call so much later, of so many tokens; a correction so far back; or a pruning of what is older."""

CEILINGS = {Window.MINUTE: 4, Window.HOUR: 6, Window.DAY: 9}


@pytest.fixture(scope="module")
def empty(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A new ledger, to be copied: to make one takes most of an example's time."""
    path = tmp_path_factory.mktemp("empty") / "ledger.sqlite"
    LedgerHarness(SqliteLedger, path).close()
    return path


@pytest.mark.property
@given(sequence=st.lists(steps, min_size=4, max_size=20))
def test_no_window_admits_more_than_its_ceiling(
    sequence: list[tuple[str, int, int]], empty: Path
) -> None:
    """L1, L9: wherever the time is set back to, and whatever was pruned."""
    limits = [limit(ceiling, window=window) for window, ceiling in CEILINGS.items()]
    now_us, admitted = NOON, list[tuple[int, int]]()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "ledger.sqlite"
        shutil.copy(empty, path)
        harness = LedgerHarness(SqliteLedger, path)
        for kind, by_us, tokens in sequence:
            if kind == "call":
                now_us += by_us
                if call(harness, now_us, *limits, tokens=tokens):
                    admitted.append((now_us, tokens))
            elif kind == "prune":
                harness.run(harness.ledger.expire(now_us))
                harness.run(harness.ledger.prune(now_us, by_us))
            else:
                with suppress(LedgerRefusedError):
                    now_us -= by_us if correct(harness, now_us - by_us) else 0
        assert harness.findings() == []
        harness.close()
    for window in (Window.HOUR, Window.DAY):
        used: dict[int, int] = {}
        for at_us, tokens in admitted:
            start_us = Calendar().span(window, at_us).start_us
            used[start_us] = used.get(start_us, 0) + tokens
        assert all(tokens <= CEILINGS[window] for tokens in used.values()), window
    for start_us, _ in admitted:
        inside = [tokens for at_us, tokens in admitted if 0 <= at_us - start_us < MINUTE_US]
        assert sum(inside) <= CEILINGS[Window.MINUTE]


def test_windows_count_what_they_had_spent_before_and_after_a_correction(
    harness: LedgerHarness,
) -> None:
    """L9: today is still full; tomorrow, which the wrong clock used up, is full when it comes."""
    assert call(harness, NOON)
    assert call(harness, NOON + DAY_US)
    (planned,) = correct(harness, NOON + SECOND_US)
    assert planned == (NOON + DAY_US, NOON + SECOND_US, 1, 1)
    assert not call(harness, NOON + 2 * SECOND_US)
    assert not call(harness, NOON + DAY_US + SECOND_US)
    assert call(harness, NOON + 2 * DAY_US)


def test_a_ledger_that_a_wrong_clock_blocked_decides_again(harness: LedgerHarness) -> None:
    """What was spent at that time takes nothing of the windows until then."""
    assert call(harness, NOON + YEAR_US, DAILY, RATE)
    assert not call(harness, NOON, DAILY, RATE)
    correct(harness, NOON)
    assert harness.ledger.budgets([DAILY, RATE], NOON)[0].remaining == 100
    assert call(harness, NOON, DAILY, RATE)
    assert not call(harness, NOON + YEAR_US, DAILY, RATE)


def test_the_second_pass_through_a_minute_adds_to_the_first(harness: LedgerHarness) -> None:
    """L1: its rows are of seconds, and end with their latest admission of either pass."""
    assert call(harness, NOON + 900_000, RATE, tokens=60)
    correct(harness, NOON)
    assert call(harness, NOON + 100_000, RATE, tokens=40)
    assert not call(harness, NOON + 60 * SECOND_US + 800_000, RATE, tokens=50)
    assert call(harness, NOON + 60 * SECOND_US + 900_000, RATE, tokens=50)


def test_a_time_that_is_not_ahead_stays(harness: LedgerHarness) -> None:
    """Nothing is written, also where the ledger has no time yet."""
    assert correct(harness, NOON) == []
    assert call(harness, NOON)
    assert correct(harness, NOON) == []
    assert read(harness, "SELECT * FROM time_corrections") == []


def test_a_correction_survives_a_restart_until_the_next_decision(harness: LedgerHarness) -> None:
    """The time is that of what was last: a decision or a correction."""
    assert call(harness, NOON + YEAR_US)
    correct(harness, NOON + DAY_US)
    correct(harness, NOON)
    harness.reopen()
    assert isinstance(harness.ledger, SqliteLedger)
    assert harness.ledger.latest_us == NOON
    assert call(harness, NOON + 5)
    harness.reopen()
    assert harness.ledger.latest_us == NOON + 5
    assert read(harness, "SELECT * FROM time_correction_log") == [
        ("2027-11-10 12:00:00", "2026-11-11 12:00:00", *SIGNED),
        ("2026-11-11 12:00:00", "2026-11-10 12:00:00", *SIGNED),
    ]


def test_what_raises_before_a_correction_leaves_the_time(harness: LedgerHarness) -> None:
    """As when an operator sees what would change, and says no."""
    assert call(harness, NOON + YEAR_US)

    def decline(_: TimeCorrection) -> None:
        raise InterruptedError

    with pytest.raises(InterruptedError):
        harness.offline(lambda path: correct_time(path, NOON, *SIGNED, decline))
    assert not call(harness, NOON)
    assert read(harness, "SELECT * FROM time_corrections") == []


def test_open_holds_of_the_wrong_time_expire_and_can_be_settled(harness: LedgerHarness) -> None:
    """L5: unknown is spent until it is settled, in the window of that time; older holds stay."""
    early = call(harness, NOON, limit(1000))
    late = call(harness, NOON + YEAR_US, limit(1000))
    correct(harness, NOON)
    assert harness.ledger.hold(late).state is HoldState.EXPIRED
    assert harness.ledger.hold(early).state is HoldState.OPEN
    (then,) = harness.ledger.budgets([limit(1000)], NOON + YEAR_US)
    assert (then.spent, then.held) == (100, 0)
    assert harness.run(harness.ledger.settle(late, settlement(NOON, 7))).tokens == 7
    (then,) = harness.ledger.budgets([limit(1000)], NOON + YEAR_US)
    assert then.spent == 7


def test_a_correction_is_refused_where_windows_may_have_been_pruned(
    harness: LedgerHarness,
) -> None:
    """L9: a budget whose row is gone would be full again; a pruning from before does no harm."""
    for at_us in (NOON - 60 * DAY_US, NOON - 10 * DAY_US, NOON):
        harness.run(harness.ledger.settle(call(harness, at_us), settlement(at_us, 100)))
    assert prune(harness, NOON) == 1
    call(harness, NOON + YEAR_US)
    assert correct(harness, NOON)
    call(harness, NOON + YEAR_US)
    assert prune(harness, NOON + YEAR_US)
    with pytest.raises(LedgerRefusedError, match="may have been pruned, and would be full again"):
        correct(harness, NOON)
    assert correct(harness, NOON + YEAR_US - 35 * DAY_US)
    with pytest.raises(LedgerRefusedError, match="restore a backup from before"):
        correct(harness, NOON + YEAR_US - 35 * DAY_US - 1)


def test_the_pruning_that_reached_furthest_counts(harness: LedgerHarness) -> None:
    """L9: the next one, with a longer retention, deletes what it had left."""
    early_us = NOON - 60 * DAY_US
    for _ in range(102):
        hold = harness.run(harness.ledger.decide(reservation(early_us))).hold_id
        harness.run(harness.ledger.release(hold, "not sent", early_us))
    call(harness, NOON)
    assert harness.run(harness.ledger.prune(NOON, DAY_US)) == 100
    assert prune(harness, NOON, 35) == 2
    with pytest.raises(LedgerRefusedError, match="may have been pruned"):
        correct(harness, NOON - DAY_US - 1)
    assert correct(harness, NOON - DAY_US)


@pytest.mark.parametrize("pruned_again", [False, True])
def test_a_pruning_of_an_older_version_may_have_deleted_any_window(
    pruned_again: bool, tmp_path: Path
) -> None:
    """It has no record of how far it went, also once a newer one follows it."""
    dump = Path(__file__).parent / "upgrades" / "0012_callers.sql"
    harness = LedgerHarness(SqliteLedger, file_of(dump, tmp_path / "ledger.sqlite"))
    assert isinstance(harness.ledger, SqliteLedger)
    upgraded_us = harness.ledger.latest_us
    call(harness, upgraded_us + DAY_US)
    if pruned_again:
        harness.run(harness.ledger.expire(upgraded_us + 2 * DAY_US))
        call(harness, upgraded_us + 2 * DAY_US)
        assert prune(harness, upgraded_us + 2 * DAY_US, 1)
    with pytest.raises(LedgerRefusedError, match="may have been pruned"):
        correct(harness, upgraded_us + (DAY_US if not pruned_again else 0) - 1)
    assert harness.findings() == []
    harness.close()


def test_pruning_goes_on_after_a_correction(harness: LedgerHarness) -> None:
    """A decision of the wrong time is as old as the correction; its window keeps what it spent."""
    harness.run(harness.ledger.settle(call(harness, NOON), settlement(NOON, 100)))
    call(harness, NOON + YEAR_US)
    correct(harness, NOON)
    call(harness, NOON + DAY_US)
    assert prune(harness, NOON + 35 * DAY_US) == 0
    assert prune(harness, NOON + 35 * DAY_US + SECOND_US) == 2
    assert not call(harness, NOON + YEAR_US)


def test_a_settlement_after_a_correction_is_kept_for_replays(harness: LedgerHarness) -> None:
    """L3: a hold of the wrong time that was settled lately is not pruned; nor one settled then."""
    early = call(harness, NOON - 50 * DAY_US)
    harness.run(harness.ledger.settle(early, settlement(NOON + YEAR_US, 5)))
    late = call(harness, NOON + YEAR_US)
    correct(harness, NOON)
    assert prune(harness, NOON) == 0
    call(harness, NOON + 40 * DAY_US)
    harness.run(harness.ledger.settle(late, settlement(NOON + 40 * DAY_US, 7)))
    assert prune(harness, NOON + 41 * DAY_US) == 1
    assert harness.run(harness.ledger.settle(late, settlement(NOON + 41 * DAY_US, 8))).tokens == 7


def test_an_adjustment_after_a_correction_is_of_the_limit_in_force(harness: LedgerHarness) -> None:
    """Not of the window that the rule had in the wrong time."""
    hourly = limit(100, window=Window.HOUR, rule="tokens")
    daily = limit(100, window=Window.DAY, rule="tokens")
    call(harness, NOON, daily, tokens=1)
    call(harness, NOON + YEAR_US, hourly, tokens=1)
    correct(harness, NOON)
    call(harness, NOON + SECOND_US, daily, tokens=1)
    at_us = NOON + 2 * SECOND_US
    harness.run(harness.ledger.adjust("tokens", "lab", 50, "ada@example.com", "a test", at_us))
    assert harness.ledger.budgets([daily], at_us)[0].spent == 50


ALTERED = [
    ("another time", "UPDATE time_corrections SET to_us = to_us + 1"),
    ("another name", "UPDATE time_corrections SET signed_by = 'bob'"),
    ("one that is made up", "INSERT INTO time_corrections SELECT 2, follows + 1, from_us, to_us,"
     " signed_by, reason, chain FROM time_corrections"),
    ("one that is gone", "DELETE FROM time_corrections"),
    ("how far a pruning went", "UPDATE prunings SET before_us = before_us - 1"),
]  # fmt: skip


@pytest.mark.parametrize(("what", "sql"), ALTERED, ids=[what for what, _ in ALTERED])
def test_what_was_altered_is_found(
    what: str, sql: str, harness: LedgerHarness, tmp_path: Path
) -> None:
    """Of corrections and of prunings; a correction that is gone leaves a decision before its time."""
    for at_us in (NOON, NOON + DAY_US, NOON + 2 * DAY_US):
        harness.run(harness.ledger.settle(call(harness, at_us), settlement(at_us, 1)))
    assert prune(harness, NOON + 2 * DAY_US, 1)
    call(harness, NOON + YEAR_US)
    correct(harness, NOON + 3 * DAY_US)
    call(harness, NOON + 3 * DAY_US)
    assert harness.findings() == []
    altered = tmp_path / "altered.sqlite"
    with sqlite3.connect(altered, isolation_level=None) as connection:
        ledger_file.open_reader(harness.path).backup(connection)
        connection.executescript(sql)
    connection.close()
    other = LedgerHarness(SqliteLedger, altered)
    assert other.findings(), what
    other.close()


@pytest.mark.parametrize("wrong", list(Effect))
@pytest.mark.parametrize("next_one", list(Effect))
def test_the_ledgers_time_is_that_of_allowed_and_denied_calls(
    wrong: Effect, next_one: Effect, harness: LedgerHarness
) -> None:
    """Either may have been made by the wrong clock, and either may be the next one."""
    tokens = {Effect.ALLOW: 10, Effect.DENY: 101}
    assert isinstance(harness.ledger, SqliteLedger)
    assert call(harness, NOON, tokens=10)
    assert bool(call(harness, NOON + YEAR_US, tokens=tokens[wrong])) == (wrong is Effect.ALLOW)
    (planned,) = correct(harness, NOON + 5)
    assert (planned.from_us, planned.decisions) == (NOON + YEAR_US, 1)
    assert planned.open_holds == (wrong is Effect.ALLOW)
    assert harness.ledger.latest_us == NOON + 5
    assert bool(call(harness, NOON + 9, tokens=tokens[next_one])) == (next_one is Effect.ALLOW)
    harness.reopen()
    assert harness.ledger.latest_us == NOON + 9


def test_a_ledger_of_denials_alone_has_a_time(harness: LedgerHarness) -> None:
    """It can be set back, too."""
    assert not call(harness, NOON + YEAR_US, tokens=101)
    assert correct(harness, NOON)
    assert call(harness, NOON)
