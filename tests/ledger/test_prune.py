"""Pruning: old entries are deleted, and what they were charged stays in opening balances."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from ledger.conftest import LedgerHarness
from support.reservations import limit, reservation, settlement

from sidecar.domain.clock import SECOND_US, to_us
from sidecar.domain.decisions import Decision, Limit, Meter
from sidecar.domain.windows import CALENDAR, Window
from sidecar.ledger.protocol import HoldUnknownError

FIRST = to_us(datetime(2026, 10, 1, 12, tzinfo=UTC))
DAY = 86_400 * SECOND_US
TOKENS, RATE = limit(1000), limit(500, Meter.REQUESTS, Window.MINUTE)
MONTH = limit(1000, window=Window.MONTH)


def count(harness: LedgerHarness, table: str) -> int:
    """Count the rows of a table."""
    ledger: Any = harness.ledger
    connection = ledger._commits._connection  # noqa: SLF001
    return int(connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0])


def read(harness: LedgerHarness, query: str) -> list[Any]:
    """Read the file by hand."""
    ledger: Any = harness.ledger
    found: list[Any] = ledger._commits._connection.execute(query).fetchall()  # noqa: SLF001
    return found


def prune(harness: LedgerHarness, at_us: int, days: int) -> None:
    """Prune until nothing is left to do."""
    while harness.run(harness.ledger.prune(at_us, days * DAY)):
        pass


def test_what_is_past_the_retention_is_gone(harness: LedgerHarness) -> None:
    """Decisions, holds and the budgets of windows long over leave the file."""
    for day in range(10):
        hold = harness.run(
            harness.ledger.decide(reservation(FIRST + day * DAY, TOKENS, RATE))
        ).hold_id
        harness.run(harness.ledger.settle(hold, settlement(FIRST + day * DAY, 10)))
    prune(harness, FIRST + 9 * DAY, 5)
    # The day that began five and a half days ago had not ended five days ago.
    assert [count(harness, table) for table in ("decisions", "holds", "budgets")] == [6, 6, 12]
    assert count(harness, "hold_amounts") == 12


def spend_daily(harness: LedgerHarness, days: int, *limits: Limit) -> None:
    """Settle a call of 10 tokens on each of so many days."""
    for day in range(days):
        at_us = FIRST + day * DAY
        hold = harness.run(harness.ledger.decide(reservation(at_us, *limits, tokens=10))).hold_id
        harness.run(harness.ledger.settle(hold, settlement(at_us, 10)))


@pytest.mark.parametrize("window", [*CALENDAR[3:], Window.TOTAL])
def test_an_open_window_keeps_its_spend_when_its_calls_are_pruned(
    harness: LedgerHarness, window: Window
) -> None:
    """L1, L2: what pruned holds were charged is the budget's opening balance, and refuses calls."""
    one = limit(205, window=window)
    spend_daily(harness, 20, one)
    prune(harness, FIRST + 25 * DAY, 10)
    assert count(harness, "holds") == 5
    harness.reopen()
    assert harness.ledger.budgets([one], FIRST + 25 * DAY)[0].spent == 200
    assert harness.findings() == []
    late = reservation(FIRST + 25 * DAY, one, tokens=6)
    assert not harness.run(harness.ledger.decide(late)).hold_id
    prune(harness, FIRST + 60 * DAY, 10)
    assert count(harness, "holds") == 1  # the last allowed call always stays, and the last denial
    assert harness.findings() == []


def test_a_budget_goes_when_its_window_has_ended_and_its_holds_are_pruned(
    harness: LedgerHarness,
) -> None:
    """L8: an opening balance outlives its holds, and not the retention after its window."""
    spend_daily(harness, 20, MONTH)
    prune(harness, FIRST + 25 * DAY, 1)
    assert count(harness, "budgets") == 1
    harness.run(harness.ledger.decide(reservation(FIRST + 50 * DAY, TOKENS)))
    prune(harness, FIRST + 50 * DAY, 25)  # the window ended 20 days ago
    assert count(harness, "budgets") == 2
    harness.run(harness.ledger.decide(reservation(FIRST + 60 * DAY, TOKENS)))
    harness.run(harness.ledger.expire(FIRST + 60 * DAY))
    harness.run(harness.ledger.decide(reservation(FIRST + 90 * DAY, TOKENS)))
    prune(harness, FIRST + 90 * DAY, 25)
    assert {rule for (rule,) in read(harness, "SELECT rule FROM budgets")} == {TOKENS.rule}
    assert harness.findings() == []


def test_a_pruning_that_is_not_durable_folds_nothing(harness: LedgerHarness) -> None:
    """L4: the calls of a group that fails are all there, and so is their chain."""
    spend_daily(harness, 5, MONTH)
    broken = reservation(FIRST + 40 * DAY, limit(None, Meter.COST), tokens=2**70)
    harness.together(harness.ledger.prune(FIRST + 40 * DAY, DAY), harness.ledger.decide(broken))
    harness.run(harness.ledger.decide(reservation(FIRST + 40 * DAY, MONTH)))
    assert harness.findings() == []


def test_an_open_hold_is_kept_however_old(harness: LedgerHarness) -> None:
    """An open hold is not deleted before it has expired."""
    harness.run(harness.ledger.decide(reservation(FIRST, TOKENS, ttl_us=100 * DAY)))
    harness.run(harness.ledger.decide(reservation(FIRST + 50 * DAY, TOKENS)))
    prune(harness, FIRST + 90 * DAY, 1)
    assert count(harness, "holds") == 2


def test_a_hold_that_was_closed_recently_is_kept_for_replays(harness: LedgerHarness) -> None:
    """L3: for any age of its decision, a second Settle within the retention gets the first charge."""
    hold = harness.run(harness.ledger.decide(reservation(FIRST, TOKENS, ttl_us=100 * DAY))).hold_id
    harness.run(harness.ledger.decide(reservation(FIRST + 90 * DAY, TOKENS)))
    harness.run(harness.ledger.settle(hold, settlement(FIRST + 90 * DAY, 7)))
    prune(harness, FIRST + 90 * DAY, 35)
    assert harness.run(harness.ledger.settle(hold, settlement(FIRST + 90 * DAY, 8))).tokens == 7


def test_a_pruned_hold_is_unknown(harness: LedgerHarness) -> None:
    """A Settle after the retention gets that error."""
    hold = harness.run(harness.ledger.decide(reservation(FIRST, TOKENS))).hold_id
    harness.run(harness.ledger.release(hold, "not sent", FIRST))
    harness.run(harness.ledger.decide(reservation(FIRST + 90 * DAY, TOKENS)))
    prune(harness, FIRST + 90 * DAY, 35)
    with pytest.raises(HoldUnknownError):
        harness.run(harness.ledger.settle(hold, settlement(FIRST + 90 * DAY, 1)))


def test_a_jump_of_the_clock_does_not_prune_the_ledgers_time(harness: LedgerHarness) -> None:
    """L9: a year ahead everything is old; back again, no window opens a second time."""
    hold = harness.run(harness.ledger.decide(reservation(FIRST, TOKENS, tokens=1000))).hold_id
    harness.run(harness.ledger.settle(hold, settlement(FIRST, 1000)))
    harness.run(harness.ledger.decide(reservation(FIRST + 365 * DAY, TOKENS, tokens=1000)))
    prune(harness, FIRST + 365 * DAY, 35)
    harness.reopen()
    refused = harness.run(harness.ledger.decide(reservation(FIRST, TOKENS, tokens=1)))
    assert [reason.code for reason in refused.reasons] == ["TOO_MUCH"]


def steps(harness: LedgerHarness, work: Callable[[], object]) -> int:
    """Count the steps of SQLite's virtual machine, in hundreds, that the work takes."""
    ledger: Any = harness.ledger
    connection = ledger._commits._connection  # noqa: SLF001 - see what it does
    hundreds = 0

    def another_hundred() -> None:
        nonlocal hundreds
        hundreds += 1

    connection.set_progress_handler(another_hundred, 100)
    work()
    connection.set_progress_handler(None, 0)
    return hundreds


def test_pruning_reads_no_budgets_that_it_does_not_change(harness: LedgerHarness) -> None:
    """However many windows and scopes the file has, only those with pruned calls are read."""

    def prune_one() -> int:
        while harness.run(harness.ledger.count_usage()):  # type: ignore[attr-defined]
            pass  # a prune does some of it
        return steps(harness, lambda: harness.run(harness.ledger.prune(FIRST + 1, 0)))

    def spend() -> None:
        for _ in range(2):
            hold = harness.run(harness.ledger.decide(reservation(FIRST, MONTH))).hold_id
            harness.run(harness.ledger.release(hold, "not sent", FIRST))

    spend()
    before = prune_one()
    spend()
    for number in range(3000):
        harness.run(harness.ledger.decide(reservation(FIRST, limit(500, scope=f"s{number}"))))
    assert prune_one() <= before + 60  # it looks at up to 100 decisions


def test_no_work_grows_with_the_size_of_the_ledger(harness: LedgerHarness) -> None:
    """Deciding, refusing, settling, expiring and pruning cost the same after a long history."""
    one = limit(1, Meter.REQUESTS, Window.CONCURRENT)
    many = limit(10**9)

    def decide(*limits: Limit, **changes: Any) -> Decision:
        return harness.run(harness.ledger.decide(reservation(FIRST, *limits, **changes)))

    def count_usage() -> None:
        """Sum up the use of keys, as a sidecar does every 10 s: a prune does some of it."""
        while harness.run(harness.ledger.count_usage()):  # type: ignore[attr-defined]
            pass

    def go_through() -> list[int]:
        count_usage()
        hold = decide(one, many).hold_id
        work: list[Callable[[], object]] = [
            lambda: decide(one),  # refused, and told when to ask again
            lambda: decide(many, request_id=f"r{count(harness, 'decisions')}"),
            lambda: harness.run(harness.ledger.settle(hold, settlement(FIRST, 1))),
            lambda: harness.run(harness.ledger.expire(FIRST)),
            lambda: harness.run(harness.ledger.prune(FIRST, DAY)),
            count_usage,
        ]
        return [steps(harness, each) for each in work]

    go_through()
    for _ in range(600):  # more than a prune looks at
        harness.run(harness.ledger.settle(decide(one, many).hold_id, settlement(FIRST, 1)))
    before = go_through()
    for _ in range(3000):
        harness.run(harness.ledger.settle(decide(one, many).hold_id, settlement(FIRST, 1)))
    after = go_through()
    assert all(late <= early + 5 for early, late in zip(before, after, strict=True)), (
        before,
        after,
    )
