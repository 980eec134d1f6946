"""Adjustments: signed rows that count as spend, or add room."""

import pytest
from ledger.conftest import LedgerHarness
from support.reservations import limit, reservation, settlement

from sidecar.domain.clock import SECOND_US
from sidecar.domain.decisions import Effect, Meter
from sidecar.domain.windows import Window
from sidecar.ledger import ledger_file
from sidecar.ledger.protocol import NotAdjustableError

NOON = 1_794_398_400 * SECOND_US
DAY = 86_400 * SECOND_US
DAILY = limit(100)


def allowed(harness: LedgerHarness, at_us: int, tokens: int = 100) -> bool:
    """Decide a call of this many tokens on the daily limit."""
    decision = harness.run(harness.ledger.decide(reservation(at_us, DAILY, tokens=tokens)))
    return decision.effect is Effect.ALLOW


def adjust(
    harness: LedgerHarness, amount: int, rule: str = "tokens-day", scope: str = "lab"
) -> None:
    """Adjust, signed by a test."""
    harness.run(harness.ledger.adjust(rule, scope, amount, "ada@example.com", "a test", NOON))


def test_a_grant_gives_room_in_its_window_alone(harness: LedgerHarness) -> None:
    """L1, L8: a negative amount makes room today, and nothing of it is left tomorrow."""
    assert allowed(harness, NOON)
    assert not allowed(harness, NOON)
    adjust(harness, -150)
    assert allowed(harness, NOON)
    assert not allowed(harness, NOON)
    assert allowed(harness, NOON, tokens=50)
    assert allowed(harness, NOON + DAY)
    assert not allowed(harness, NOON + DAY)


def test_a_correction_counts_as_spent(harness: LedgerHarness) -> None:
    """L2: what was bought elsewhere takes of the budget, beside what was settled."""
    hold = harness.run(harness.ledger.decide(reservation(NOON, DAILY, tokens=10))).hold_id
    harness.run(harness.ledger.settle(hold, settlement(NOON, 10)))
    adjust(harness, 60)
    (budget,) = harness.ledger.budgets([DAILY], NOON)
    assert (budget.spent, budget.held, budget.remaining) == (70, 0, 30)
    assert not allowed(harness, NOON, tokens=31)


def test_a_call_in_the_group_of_an_adjustment_counts_it(harness: LedgerHarness) -> None:
    """L1 L2: whichever transaction they share, before it or after."""
    assert allowed(harness, NOON, tokens=10)
    signed = (60, "ada@example.com", "a test", NOON)
    answers = harness.together(
        harness.ledger.decide(reservation(NOON, DAILY, tokens=20)),
        harness.ledger.adjust("tokens-day", "lab", *signed),
        harness.ledger.decide(reservation(NOON, DAILY, tokens=20)),
    )
    effects = [getattr(answer, "effect", None) for answer in answers]
    assert effects == [Effect.ALLOW, None, Effect.DENY]
    assert getattr(answers[1], "spent", None) == 60


def test_a_scope_without_calls_yet_can_be_adjusted(harness: LedgerHarness) -> None:
    """The rule is known from others' calls."""
    assert allowed(harness, NOON)
    adjust(harness, 7, scope="attic")
    (budget,) = harness.ledger.budgets([limit(100, scope="attic")], NOON)
    assert budget.spent == 7


def test_adjustment_log_has_who_signed_and_why(harness: LedgerHarness) -> None:
    """The view has every adjustment, and the chain continues after a restart."""
    assert allowed(harness, NOON)
    adjust(harness, -5)
    harness.reopen()
    adjust(harness, 3)
    rows = ledger_file.open_reader(harness.path).execute(
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
    rule: str, window: Window, message: str, harness: LedgerHarness
) -> None:
    """A rule that has counted no call, and sliding windows."""
    harness.run(harness.ledger.decide(reservation(NOON, limit(1000, window=window))))
    with pytest.raises(NotAdjustableError, match=message):
        adjust(harness, 1, rule=rule)


def test_a_budget_with_an_adjustment_is_kept(harness: LedgerHarness) -> None:
    """Pruning deletes calls, not signed adjustments."""
    hold = harness.run(
        harness.ledger.decide(reservation(NOON, DAILY, limit(10**12, Meter.COST)))
    ).hold_id
    harness.run(harness.ledger.settle(hold, settlement(NOON, 5)))
    adjust(harness, 7)
    harness.run(harness.ledger.decide(reservation(NOON + 50 * DAY)))
    assert harness.run(harness.ledger.prune(NOON + 50 * DAY, DAY)) == 1
    assert harness.findings() == []
