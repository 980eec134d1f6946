"""Calls that are larger than a whole budget: no wait helps, and the answer says so."""

from dataclasses import replace

import pytest
from ledger.conftest import LedgerHarness
from ledger.test_promises import HOUR, NOON, allowed, decide
from support.reservations import limit, reservation, settlement

from sidecar.domain.clock import SECOND_US
from sidecar.domain.decisions import Decision, Limit, Meter
from sidecar.domain.share import Share
from sidecar.domain.windows import Window


def codes(decision: Decision) -> list[str]:
    """Return the codes of its reasons."""
    return [reason.code for reason in decision.reasons]


@pytest.mark.parametrize("window", Window)
def test_a_call_larger_than_the_budget_gets_no_retry_after(
    harness: LedgerHarness, window: Window
) -> None:
    """With nothing spent there is nothing to wait for; the rule's own reason comes second."""
    refused = decide(harness, NOON, limit(100, window=window), tokens=150)
    assert (codes(refused), refused.retry_after_us) == (["LARGER_THAN_BUDGET", "TOO_MUCH"], 0)
    first, second = refused.reasons
    assert (first.rule, first.http_status) == ("", 403)
    assert first.message == (
        f"this call may take 150 tokens, more than the whole budget of tokens-{window.value},"
        " 100 tokens: waiting does not help"
    )
    never = ", never renewed" if window is Window.TOTAL else ""
    assert (second.message, second.http_status) == (
        f"too much (requested 150 tokens, 100 left of 100{never})", 429,
    )  # fmt: skip
    assert allowed(decide(harness, NOON, limit(100, window=window), tokens=100))


def test_one_budget_that_is_too_small_is_enough_for_no_retry_after(harness: LedgerHarness) -> None:
    """Where another limit would have room in an hour, an hour does not help either."""
    hour = limit(200, window=Window.HOUR, rule="hour")
    decide(harness, NOON, hour, tokens=100)
    refused = decide(harness, NOON, hour, limit(149, rule="day"), tokens=150)
    assert (codes(refused), refused.retry_after_us) == (
        ["LARGER_THAN_BUDGET", "TOO_MUCH", "TOO_MUCH"], 0,
    )  # fmt: skip
    assert "hour" not in refused.reasons[0].message
    assert decide(harness, NOON, hour, tokens=150).retry_after_us == HOUR


def test_a_spent_budget_is_not_a_too_small_one(harness: LedgerHarness) -> None:
    """A call that fits into an empty budget fits into the next window."""
    day = limit(100)
    hold = decide(harness, NOON, day, tokens=90).hold_id
    harness.run(harness.ledger.settle(hold, settlement(NOON, 90)))
    for tokens in (11, 100):
        refused = decide(harness, NOON, day, tokens=tokens)
        assert (codes(refused), refused.retry_after_us) == (["TOO_MUCH"], 12 * HOUR)


def test_several_budgets_that_are_too_small_are_one_reason(harness: LedgerHarness) -> None:
    """It names each of them."""
    money = limit(50_000, Meter.COST, rule="money")
    refused = decide(harness, NOON, limit(149, rule="day"), money, tokens=150)
    assert codes(refused) == ["LARGER_THAN_BUDGET", "TOO_MUCH", "TOO_MUCH"]
    assert refused.reasons[0].message == (
        "this call may take 150 tokens, more than the whole budget of day, 149 tokens;"
        " this call may take $0.00015, more than the whole budget of money, $0.00005:"
        " waiting does not help"
    )
    assert refused.reasons[2].message == "too much (requested $0.00015, $0.00005 left of $0.00005)"


def test_a_limit_in_shadow_mode_does_not_make_a_call_too_large(harness: LedgerHarness) -> None:
    """It has no effect, so waiting for the others may help."""
    day = limit(200, rule="day")
    decide(harness, NOON, day, tokens=100)
    shadow = reservation(NOON, limit(149, rule="shadow"), tokens=150, shadow=True).lines
    request = reservation(NOON, day, tokens=150)
    refused = harness.run(harness.ledger.decide(replace(request, lines=(*request.lines, *shadow))))
    assert (codes(refused), refused.retry_after_us) == (["TOO_MUCH"], 12 * HOUR)
    (shadowed,) = refused.shadow_reasons
    assert shadowed.message == "too much (requested 150 tokens, 149 left of 149)"


def test_a_ceiling_of_0_denies_every_call_as_too_large(harness: LedgerHarness) -> None:
    """With a ceiling of 0, waiting never helps."""
    refused = decide(harness, NOON, limit(0, Meter.REQUESTS, Window.CONCURRENT, rule="stop"))
    assert (codes(refused), refused.retry_after_us) == (["LARGER_THAN_BUDGET", "TOO_MUCH"], 0)
    assert refused.reasons[0].message == (
        "the budget of stop is 0 requests, which lets no call through: waiting does not help"
    )


def test_an_adjustment_that_gives_room_lets_a_larger_call_through(harness: LedgerHarness) -> None:
    """A call above the ceiling fits into what this window was given, until that is spent."""
    day = limit(100)
    decide(harness, NOON, day, tokens=1)
    harness.run(harness.ledger.adjust(day.rule, day.scope, -100, "ada", "a long document", NOON))
    hold = decide(harness, NOON, day, tokens=60, ttl_us=90 * SECOND_US).hold_id
    waits = decide(harness, NOON, day, tokens=150)
    assert (codes(waits), waits.retry_after_us) == (["TOO_MUCH"], 90 * SECOND_US)
    assert waits.reasons[0].message == "too much (requested 150 tokens, 139 left of 100)"
    harness.run(harness.ledger.settle(hold, settlement(NOON, 10)))
    larger = decide(harness, NOON, day, tokens=150)
    assert allowed(larger)
    harness.run(harness.ledger.settle(larger.hold_id, settlement(NOON, 150)))
    assert codes(decide(harness, NOON, day, tokens=150)) == ["LARGER_THAN_BUDGET", "TOO_MUCH"]


def test_too_large_is_measured_by_this_sidecars_share(harness: LedgerHarness) -> None:
    """Each of two sidecars has half; the message says so."""

    def ask(one: Limit, tokens: int) -> Decision:
        request = replace(reservation(NOON, one, tokens=tokens), share=Share(1, 2))
        return harness.run(harness.ledger.decide(request))

    assert [reason.message for reason in ask(limit(50), 60).reasons] == [
        "this call may take 60 tokens, more than this sidecar's share, 1/2, of the whole budget of"
        " tokens-day, 50 tokens: waiting does not help",
        "too much (requested 60 tokens, 50 left of 50, a share of 1/2)",
    ]
    assert ask(limit(0, rule="off"), 60).reasons[0].message == (
        "this sidecar's share, 1/2, of the budget of off is 0 tokens, which lets no call through:"
        " waiting does not help"
    )


def test_l3_a_replay_of_a_refusal_has_the_same_message(harness: LedgerHarness) -> None:
    """L3: the amounts are written once, and stay when more is spent."""
    day = limit(100)
    first = decide(harness, NOON, day, tokens=150, request_id="a")
    decide(harness, NOON, day, tokens=90)
    harness.reopen()
    again = decide(harness, NOON, day, tokens=150, request_id="a")
    assert (again, again.replayed) == (first, True)


def test_a_dry_run_says_what_a_decision_would(harness: LedgerHarness) -> None:
    """L1: a preview of a call that is too large has the same reasons, and no time."""
    request = reservation(NOON, limit(100), tokens=150)
    preview = harness.ledger.preview(request)
    decided = harness.run(harness.ledger.decide(request))
    assert (preview.reasons, preview.retry_after_us) == (decided.reasons, 0)
