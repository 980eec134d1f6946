"""Calls that are decided in one group count as if each had been written by itself."""

from collections.abc import Coroutine
from dataclasses import replace
from typing import Any

import pytest
from ledger.conftest import LedgerHarness
from support.reservations import limit, reservation, settlement

from sidecar.domain.clock import SECOND_US
from sidecar.domain.decisions import Charge, Decision, Effect, Meter
from sidecar.domain.windows import MINUTE_US, Anchor, Window
from sidecar.ledger.settlement import MAX_PER_TRANSACTION

NOON_US = 1_790_000_000 * SECOND_US
DAY_US = 86_400 * SECOND_US
MIDNIGHT_US = (NOON_US // DAY_US + 1) * DAY_US


def effects(harness: LedgerHarness, *work: Coroutine[Any, Any, Any]) -> list[Effect]:
    """Run all work in one group; return the results of its decisions."""
    answers = harness.together(*work)
    return [answer.effect for answer in answers if isinstance(answer, Decision)]


def test_calls_of_a_group_share_what_there_is(harness: LedgerHarness) -> None:
    """L1: the third of a group finds no room for what two have taken, in the database too."""
    day = limit(250)
    calls = [harness.ledger.decide(reservation(NOON_US, day)) for _ in range(3)]
    assert effects(harness, *calls) == [Effect.ALLOW, Effect.ALLOW, Effect.DENY]
    (left,) = harness.ledger.budgets([day], NOON_US)
    assert (left.spent, left.held) == (0, 200)


def test_a_group_on_both_sides_of_midnight_uses_two_windows(harness: LedgerHarness) -> None:
    """L6: what comes a moment later counts in its own day, and finds that empty."""
    day = limit(150)
    calls = [harness.ledger.decide(reservation(at, day)) for at in (MIDNIGHT_US - 1, MIDNIGHT_US)]
    assert effects(harness, *calls) == [Effect.ALLOW, Effect.ALLOW]
    held = [harness.ledger.budgets([day], MIDNIGHT_US - 1 + late)[0].held for late in (0, 1)]
    assert held[1] == 100


def test_a_row_that_ends_within_a_group_counts_no_longer(harness: LedgerHarness) -> None:
    """L1: of a sliding minute, what was admitted 60 seconds before is gone, not sooner."""
    minute = limit(150, window=Window.MINUTE)
    harness.run(harness.ledger.decide(reservation(NOON_US, minute)))
    ends = NOON_US + MINUTE_US
    calls = [harness.ledger.decide(reservation(at, minute)) for at in (ends - 1, ends)]
    assert effects(harness, *calls) == [Effect.DENY, Effect.ALLOW]


def test_a_row_of_another_anchor_that_ends_within_a_group_counts_no_longer(
    harness: LedgerHarness,
) -> None:
    """L1: the day now begins at six, and what counted from midnight on is gone at midnight."""
    day = limit(250)
    harness.run(harness.ledger.decide(reservation(NOON_US, day)))
    from_six = day._replace(anchor=Anchor(1, 6))
    calls = [
        harness.ledger.decide(reservation(at, from_six)) for at in (MIDNIGHT_US - 1, MIDNIGHT_US)
    ]
    assert effects(harness, *calls) == [Effect.ALLOW, Effect.ALLOW]


def test_what_expires_within_a_group_is_there_for_the_rest_of_it(harness: LedgerHarness) -> None:
    """L1: a hold that is released when it expires leaves room for the call that found it."""
    day, one = limit(200), limit(1, Meter.REQUESTS, Window.CONCURRENT)
    held = reservation(NOON_US, day, ttl_us=SECOND_US)
    lines = tuple(line._replace(charge_on_expiry=False) for line in held.lines)
    harness.run(harness.ledger.decide(replace(held, lines=lines)))
    later_us = NOON_US + SECOND_US
    calls = [
        harness.ledger.decide(reservation(later_us, *limits)) for limits in ((day,), (one, day))
    ]
    assert effects(harness, *calls) == [Effect.ALLOW, Effect.ALLOW]


@pytest.mark.parametrize("window", [Window.DAY, Window.MINUTE])
def test_what_is_settled_in_a_group_counts_for_the_rest_of_it(
    harness: LedgerHarness, window: Window
) -> None:
    """L1: an overrun leaves no room, and no charge says that there is some."""
    one = limit(1000, window=window)
    held = [harness.run(harness.ledger.decide(reservation(NOON_US + n, one))) for n in range(3)]
    later_us = NOON_US + SECOND_US
    first, second, late = harness.together(
        harness.ledger.settle(held[0].hold_id, settlement(later_us, 100)),
        harness.ledger.settle(held[1].hold_id, settlement(later_us, 900)),
        harness.ledger.decide(reservation(later_us, one)),
    )
    assert isinstance(first, Charge)
    assert isinstance(second, Charge)
    assert isinstance(late, Decision)
    assert (first.budgets[0].spent, first.budgets[0].held) == (100, 200)
    assert (second.budgets[0].spent, second.budgets[0].held) == (1000, 100)
    assert late.effect is Effect.DENY


def test_a_refusal_knows_which_row_of_a_limit_ends_first(harness: LedgerHarness) -> None:
    """L1: a hold of its group ends at midnight, before one of the day that began at six."""
    day = limit(200)
    from_six = day._replace(anchor=Anchor(1, 6))
    harness.run(harness.ledger.decide(reservation(NOON_US, from_six, tokens=50)))
    _, denied = harness.together(
        *(harness.ledger.decide(reservation(NOON_US, day)) for _ in range(2))
    )
    assert isinstance(denied, Decision)
    assert denied.effect is Effect.DENY
    assert denied.retry_after_us == MIDNIGHT_US - NOON_US


def test_a_refusal_knows_when_what_its_group_holds_ends(harness: LedgerHarness) -> None:
    """L1: retry_after looks at rows that are not written yet, too."""
    minute = limit(1, Meter.REQUESTS, Window.MINUTE)
    first, second = harness.together(
        *(harness.ledger.decide(reservation(NOON_US + late, minute)) for late in (0, 5))
    )
    assert isinstance(first, Decision)
    assert isinstance(second, Decision)
    assert (first.effect, second.effect) == (Effect.ALLOW, Effect.DENY)
    assert second.retry_after_us == MINUTE_US - 5


def test_what_frees_room_comes_before_what_needs_it(harness: LedgerHarness) -> None:
    """L1: a settlement that waits beside a call gives it the room."""
    day = limit(100)
    hold_id = harness.run(harness.ledger.decide(reservation(NOON_US, day))).hold_id
    call = harness.ledger.decide(reservation(NOON_US, day, tokens=90))
    settled = harness.ledger.settle(hold_id, settlement(NOON_US, tokens=10))
    assert effects(harness, call, settled) == [Effect.ALLOW]
    (left,) = harness.ledger.budgets([day], NOON_US)
    assert (left.spent, left.held) == (10, 90)


@pytest.mark.parametrize("expires", [False, True])
def test_other_work_of_a_group_finds_what_was_decided_before_it(
    harness: LedgerHarness, *, expires: bool
) -> None:
    """L2: an adjustment, or a hold that expires for a later call, adds to what is there."""
    day, one = limit(1000), limit(1, Meter.REQUESTS, Window.CONCURRENT)
    harness.run(harness.ledger.decide(reservation(NOON_US, one, day, ttl_us=SECOND_US)))
    later_us = NOON_US + SECOND_US
    work: list[Coroutine[Any, Any, Any]] = [harness.ledger.decide(reservation(later_us, day))]
    if expires:
        work.append(harness.ledger.decide(reservation(later_us, one, day)))
    else:
        work.append(harness.ledger.adjust(day.rule, day.scope, 50, "eve", "a test", later_us))
    work.append(harness.ledger.decide(reservation(later_us, day)))
    assert set(effects(harness, *work)) == {Effect.ALLOW}
    (left,) = harness.ledger.budgets([day], later_us)
    assert (left.spent, left.held) == ((100, 300) if expires else (50, 300))


@pytest.mark.parametrize(("amount", "then"), [(-100, Effect.ALLOW), (1, Effect.DENY)])
def test_an_adjustment_counts_for_the_rest_of_its_group(
    harness: LedgerHarness, amount: int, then: Effect
) -> None:
    """L1: a correction gives or takes room at once, and answers with what is left."""
    day = limit(100 if amount < 0 else 200)
    work: list[Coroutine[Any, Any, Any]] = [
        harness.ledger.decide(reservation(NOON_US, day)),
        harness.ledger.adjust(day.rule, day.scope, amount, "eve", "a test", NOON_US),
        harness.ledger.decide(reservation(NOON_US, day)),
    ]
    _, adjusted, decided = harness.together(*work)
    assert adjusted.spent == amount  # type: ignore[union-attr]
    assert decided.effect is then  # type: ignore[union-attr]


def test_a_ceiling_that_falls_within_a_group_holds_at_once(harness: LedgerHarness) -> None:
    """L1: each call brings the ceiling of its own policies."""
    calls = [harness.ledger.decide(reservation(NOON_US, limit(ceiling))) for ceiling in (200, 150)]
    assert effects(harness, *calls) == [Effect.ALLOW, Effect.DENY]


def test_what_a_group_held_goes_with_it(harness: LedgerHarness) -> None:
    """L4: one call that cannot be written takes its group down, and each counts once after all."""
    day = limit(1000)
    poison = reservation(NOON_US, day, model_requested="\ud800")  # no UTF-8, so no text for SQLite
    calls = [harness.ledger.decide(one) for one in (reservation(NOON_US, day), poison)]
    assert (
        effects(harness, *calls, harness.ledger.decide(reservation(NOON_US, day)))
        == [Effect.ALLOW] * 2
    )
    (left,) = harness.ledger.budgets([day], NOON_US)
    assert (left.spent, left.held) == (0, 200)


def test_a_second_that_begins_within_a_group_leaves_what_others_hold(
    harness: LedgerHarness,
) -> None:
    """L1: of two limits one goes on to its next row; the group stays whole."""
    lost: list[bool] = []
    commits: Any = harness.ledger
    forget = commits._commits._rolled_back  # noqa: SLF001 - nothing else tells of it

    def rolled_back() -> None:
        lost.append(True)
        forget()

    commits._commits._rolled_back = rolled_back  # noqa: SLF001
    day, minute = limit(300), limit(9, Meter.REQUESTS, Window.MINUTE)
    calls = [
        harness.ledger.decide(reservation(NOON_US + late, day, minute))
        for late in (SECOND_US - 1, SECOND_US, SECOND_US + 1, SECOND_US + 2)
    ]
    assert effects(harness, *calls) == [Effect.ALLOW] * 3 + [Effect.DENY]
    assert lost == []
    assert [b.held for b in harness.ledger.budgets([day, minute], NOON_US + SECOND_US + 2)] == [
        300,
        3,
    ]


def test_a_group_charges_no_more_of_what_is_due_than_one_housekeeping(
    harness: LedgerHarness,
) -> None:
    """Each call of a group would else keep all others waiting for hundreds of holds."""
    day, one = limit(10**9), limit(10**6, Meter.REQUESTS, Window.CONCURRENT)
    for _ in range(3):
        harness.together(
            *(
                harness.ledger.decide(reservation(NOON_US, day, ttl_us=SECOND_US))
                for _ in range(MAX_PER_TRANSACTION)
            )
        )
    later_us = NOON_US + SECOND_US
    harness.together(*(harness.ledger.decide(reservation(later_us, one, day)) for _ in range(8)))
    (left,) = harness.ledger.budgets([day], later_us)
    assert left.spent == 100 * MAX_PER_TRANSACTION
