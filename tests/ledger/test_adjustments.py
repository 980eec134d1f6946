"""Adjustments: signed rows that count as spend, or add room."""

import pytest
from ledger.conftest import Till
from support.reservations import limit, reservation, settlement

from sidecar.domain.clock import SECOND_US
from sidecar.domain.decisions import Effect, Meter
from sidecar.domain.windows import Window
from sidecar.ledger import ledger_file
from sidecar.ledger.protocol import NotAdjustableError

NOON = 1_794_398_400 * SECOND_US
DAY = 86_400 * SECOND_US
DAILY = limit(100)


def allowed(till: Till, at_us: int, tokens: int = 100) -> bool:
    """Decide a call of this many tokens on the daily limit."""
    decision = till.run(till.ledger.decide(reservation(at_us, DAILY, tokens=tokens)))
    return decision.effect is Effect.ALLOW


def adjust(till: Till, amount: int, rule: str = "tokens-day", scope: str = "lab") -> None:
    """Adjust, signed by a test."""
    till.run(till.ledger.adjust(rule, scope, amount, "ada@example.com", "a test", NOON))


def test_a_grant_gives_room_in_its_window_alone(till: Till) -> None:
    """L1, L8: a negative amount makes room today, and nothing of it is left tomorrow."""
    assert allowed(till, NOON)
    assert not allowed(till, NOON)
    adjust(till, -150)
    assert allowed(till, NOON)
    assert not allowed(till, NOON)
    assert allowed(till, NOON, tokens=50)
    assert allowed(till, NOON + DAY)
    assert not allowed(till, NOON + DAY)


def test_a_correction_counts_as_spent(till: Till) -> None:
    """L2: what was bought elsewhere takes of the budget, beside what was settled."""
    hold = till.run(till.ledger.decide(reservation(NOON, DAILY, tokens=10))).hold_id
    till.run(till.ledger.settle(hold, settlement(NOON, 10)))
    adjust(till, 60)
    (budget,) = till.ledger.budgets([DAILY], NOON)
    assert (budget.spent, budget.held, budget.remaining) == (70, 0, 30)
    assert not allowed(till, NOON, tokens=31)


def test_a_call_in_the_group_of_an_adjustment_counts_it(till: Till) -> None:
    """L1 L2: whichever transaction they share, before it or after."""
    assert allowed(till, NOON, tokens=10)
    signed = (60, "ada@example.com", "a test", NOON)
    answers = till.together(
        till.ledger.decide(reservation(NOON, DAILY, tokens=20)),
        till.ledger.adjust("tokens-day", "lab", *signed),
        till.ledger.decide(reservation(NOON, DAILY, tokens=20)),
    )
    effects = [getattr(answer, "effect", None) for answer in answers]
    assert effects == [Effect.ALLOW, None, Effect.DENY]
    assert getattr(answers[1], "spent", None) == 60


def test_a_scope_without_calls_yet_can_be_adjusted(till: Till) -> None:
    """The rule is known from others' calls."""
    assert allowed(till, NOON)
    adjust(till, 7, scope="attic")
    (budget,) = till.ledger.budgets([limit(100, scope="attic")], NOON)
    assert budget.spent == 7


def test_adjustment_log_has_who_signed_and_why(till: Till) -> None:
    """The view has every adjustment, and the chain continues after a restart."""
    assert allowed(till, NOON)
    adjust(till, -5)
    till.reopen()
    adjust(till, 3)
    rows = ledger_file.open_reader(till.path).execute(
        "SELECT rule, scope, amount, signed_by, reason FROM adjustment_log"
    )
    signed = ("ada@example.com", "a test")
    assert rows.fetchall() == [
        ("tokens-day", "lab", -5, *signed),
        ("tokens-day", "lab", 3, *signed),
    ]


@pytest.mark.parametrize(
    ("rule", "window", "message"),
    [
        ("typo", Window.DAY, "no call has counted on a limit named typo"),
        ("tokens-minute", Window.MINUTE, "has the window minute"),
        ("tokens-concurrent", Window.CONCURRENT, "has the window concurrent"),
    ],
)
def test_limits_that_cannot_be_adjusted_are_refused(
    rule: str, window: Window, message: str, till: Till
) -> None:
    """A rule that has counted no call, and sliding windows."""
    till.run(till.ledger.decide(reservation(NOON, limit(1000, window=window))))
    with pytest.raises(NotAdjustableError, match=message):
        adjust(till, 1, rule=rule)


def test_a_budget_with_an_adjustment_is_kept(till: Till) -> None:
    """Pruning deletes calls, not signed adjustments."""
    hold = till.run(till.ledger.decide(reservation(NOON, DAILY, limit(10**12, Meter.COST)))).hold_id
    till.run(till.ledger.settle(hold, settlement(NOON, 5)))
    adjust(till, 7)
    till.run(till.ledger.decide(reservation(NOON + 50 * DAY)))
    assert till.run(till.ledger.prune(NOON + 50 * DAY, DAY)) == 1
    assert till.findings() == []
