"""Calls that are decided in one group count as if each had been written by itself."""

from collections.abc import Coroutine
from typing import Any

import pytest
from ledger.conftest import Till
from support.reservations import limit, reservation, settlement

from sidecar.domain.clock import SECOND_US
from sidecar.domain.decisions import Decision, Effect, Meter
from sidecar.domain.windows import MINUTE_US, Window
from sidecar.ledger.settlement import MAX_PER_TRANSACTION

NOON_US = 1_790_000_000 * SECOND_US
DAY_US = 86_400 * SECOND_US
MIDNIGHT_US = (NOON_US // DAY_US + 1) * DAY_US


def effects(till: Till, *work: Coroutine[Any, Any, Any]) -> list[Effect]:
    """Run all work in one group; return the results of its decisions."""
    answers = till.together(*work)
    return [answer.effect for answer in answers if isinstance(answer, Decision)]


def test_calls_of_a_group_share_what_there_is(till: Till) -> None:
    """L1: the third of a group finds no room for what two have taken, in the database too."""
    day = limit(250)
    asked = [till.ledger.decide(reservation(NOON_US, day)) for _ in range(3)]
    assert effects(till, *asked) == [Effect.ALLOW, Effect.ALLOW, Effect.DENY]
    (left,) = till.ledger.budgets([day], NOON_US)
    assert (left.spent, left.held) == (0, 200)


def test_a_group_on_both_sides_of_midnight_uses_two_windows(till: Till) -> None:
    """L6: what comes a moment later counts in its own day, and finds that empty."""
    day = limit(150)
    asked = [till.ledger.decide(reservation(at, day)) for at in (MIDNIGHT_US - 1, MIDNIGHT_US)]
    assert effects(till, *asked) == [Effect.ALLOW, Effect.ALLOW]
    held = [till.ledger.budgets([day], MIDNIGHT_US - 1 + late)[0].held for late in (0, 1)]
    assert held[1] == 100


def test_a_row_that_ends_within_a_group_counts_no_longer(till: Till) -> None:
    """L1: of a sliding minute, what was admitted 60 seconds before is gone, not sooner."""
    minute = limit(150, window=Window.MINUTE)
    till.run(till.ledger.decide(reservation(NOON_US, minute)))
    ends = NOON_US + MINUTE_US
    asked = [till.ledger.decide(reservation(at, minute)) for at in (ends - 1, ends)]
    assert effects(till, *asked) == [Effect.DENY, Effect.ALLOW]


def test_a_refusal_knows_when_what_its_group_holds_ends(till: Till) -> None:
    """L1: retry_after looks at rows that are not written yet, too."""
    minute = limit(1, Meter.REQUESTS, Window.MINUTE)
    first, second = till.together(
        *(till.ledger.decide(reservation(NOON_US + late, minute)) for late in (0, 5))
    )
    assert isinstance(first, Decision)
    assert isinstance(second, Decision)
    assert (first.effect, second.effect) == (Effect.ALLOW, Effect.DENY)
    assert second.retry_after_us == MINUTE_US - 5


def test_what_frees_room_comes_before_what_needs_it(till: Till) -> None:
    """L1: a settlement that waits beside a call gives it the room."""
    day, asked = limit(100), reservation(NOON_US, limit(100))
    till.run(till.ledger.decide(asked))
    call = till.ledger.decide(reservation(NOON_US, day, tokens=90))
    settled = till.ledger.settle(asked.hold_id, settlement(NOON_US, tokens=10))
    assert effects(till, call, settled) == [Effect.ALLOW]
    (left,) = till.ledger.budgets([day], NOON_US)
    assert (left.spent, left.held) == (10, 90)


@pytest.mark.parametrize("expires", [False, True])
def test_other_work_of_a_group_finds_what_was_decided_before_it(
    till: Till, *, expires: bool
) -> None:
    """L2: an adjustment, or a hold that expires for a later call, adds to what is there."""
    day, one = limit(1000), limit(1, Meter.REQUESTS, Window.CONCURRENT)
    till.run(till.ledger.decide(reservation(NOON_US, one, day, ttl_us=SECOND_US)))
    later_us = NOON_US + SECOND_US
    work: list[Coroutine[Any, Any, Any]] = [till.ledger.decide(reservation(later_us, day))]
    if expires:
        work.append(till.ledger.decide(reservation(later_us, one, day)))
    else:
        work.append(till.ledger.adjust(day.rule, day.scope, 50, "eve", "a test", later_us))
    work.append(till.ledger.decide(reservation(later_us, day)))
    assert set(effects(till, *work)) == {Effect.ALLOW}
    (left,) = till.ledger.budgets([day], later_us)
    assert (left.spent, left.held) == ((100, 300) if expires else (50, 300))


@pytest.mark.parametrize(("amount", "then"), [(-100, Effect.ALLOW), (1, Effect.DENY)])
def test_an_adjustment_counts_for_the_rest_of_its_group(
    till: Till, amount: int, then: Effect
) -> None:
    """L1: a correction gives or takes room at once, and answers with what is left."""
    day = limit(100 if amount < 0 else 200)
    work: list[Coroutine[Any, Any, Any]] = [
        till.ledger.decide(reservation(NOON_US, day)),
        till.ledger.adjust(day.rule, day.scope, amount, "eve", "a test", NOON_US),
        till.ledger.decide(reservation(NOON_US, day)),
    ]
    _, adjusted, decided = till.together(*work)
    assert adjusted.spent == amount  # type: ignore[union-attr]
    assert decided.effect is then  # type: ignore[union-attr]


def test_a_ceiling_that_falls_within_a_group_holds_at_once(till: Till) -> None:
    """L1: each call brings the ceiling of its own policies."""
    asked = [till.ledger.decide(reservation(NOON_US, limit(ceiling))) for ceiling in (200, 150)]
    assert effects(till, *asked) == [Effect.ALLOW, Effect.DENY]


def test_what_a_group_held_goes_with_it(till: Till) -> None:
    """L4: one call that cannot be written takes its group down, and each counts once after all."""
    day = limit(1000)
    poison = reservation(NOON_US, day, model_requested="\ud800")  # no UTF-8, so no text for SQLite
    asked = [till.ledger.decide(one) for one in (reservation(NOON_US, day), poison)]
    assert (
        effects(till, *asked, till.ledger.decide(reservation(NOON_US, day))) == [Effect.ALLOW] * 2
    )
    (left,) = till.ledger.budgets([day], NOON_US)
    assert (left.spent, left.held) == (0, 200)


def test_a_second_that_begins_within_a_group_leaves_what_others_hold(till: Till) -> None:
    """L1: of two limits one goes on to its next row; the group stays whole."""
    lost: list[bool] = []
    commits: Any = till.ledger
    forget = commits._commits._rolled_back  # noqa: SLF001 - nothing else tells of it

    def rolled_back() -> None:
        lost.append(True)
        forget()

    commits._commits._rolled_back = rolled_back  # noqa: SLF001
    day, minute = limit(300), limit(9, Meter.REQUESTS, Window.MINUTE)
    asked = [
        till.ledger.decide(reservation(NOON_US + late, day, minute))
        for late in (SECOND_US - 1, SECOND_US, SECOND_US + 1, SECOND_US + 2)
    ]
    assert effects(till, *asked) == [Effect.ALLOW] * 3 + [Effect.DENY]
    assert lost == []
    assert [b.held for b in till.ledger.budgets([day, minute], NOON_US + SECOND_US + 2)] == [300, 3]


def test_a_group_charges_no_more_of_what_is_due_than_one_housekeeping(till: Till) -> None:
    """Each call of a group would else keep all others waiting for hundreds of holds."""
    day, one = limit(10**9), limit(10**6, Meter.REQUESTS, Window.CONCURRENT)
    for _ in range(3):
        till.together(
            *(
                till.ledger.decide(reservation(NOON_US, day, ttl_us=SECOND_US))
                for _ in range(MAX_PER_TRANSACTION)
            )
        )
    later_us = NOON_US + SECOND_US
    till.together(*(till.ledger.decide(reservation(later_us, one, day)) for _ in range(8)))
    (left,) = till.ledger.budgets([day], later_us)
    assert left.spent == 100 * MAX_PER_TRANSACTION
