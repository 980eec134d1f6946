"""Replays: a repeated request_id is marked as replayed, with its hold's state now."""

from ledger.conftest import LedgerHarness
from ledger.test_promises import NOON, TOKENS, allowed, budget, decide
from support.reservations import limit, reservation, settlement

from sidecar.domain.clock import SECOND_US
from sidecar.domain.decisions import Decision, HoldState


def repeat(harness: LedgerHarness, at_us: int = NOON) -> Decision:
    """Decide the call "a", which may have been decided before."""
    return decide(harness, at_us, TOKENS, request_id="a", ttl_us=90 * SECOND_US)


def test_l3_a_replay_is_marked_and_has_the_same_decision(harness: LedgerHarness) -> None:
    """L3: that it is a repeat is no part of what has to be the same."""
    first, again = repeat(harness), repeat(harness)
    assert (first.replayed, first.hold_state) == (False, HoldState.OPEN)
    assert (again.replayed, again.hold_state) == (True, HoldState.OPEN)
    assert first == again


def test_a_replay_has_the_state_of_its_hold(harness: LedgerHarness) -> None:
    """A settled, released or expired hold allows no call, whatever the first response was."""
    first = repeat(harness)
    harness.run(harness.ledger.settle(first.hold_id, settlement(NOON, 5)))
    assert repeat(harness).hold_state is HoldState.SETTLED
    other = decide(harness, NOON, TOKENS, request_id="b")
    harness.run(harness.ledger.release(other.hold_id, "not sent", NOON))
    assert decide(harness, NOON, TOKENS, request_id="b").hold_state is HoldState.RELEASED
    decide(harness, NOON, TOKENS, request_id="c", ttl_us=SECOND_US)
    harness.run(harness.ledger.expire(NOON + SECOND_US))
    again = decide(harness, NOON + SECOND_US, TOKENS, request_id="c", ttl_us=SECOND_US)
    assert (allowed(again), again.hold_state) == (True, HoldState.EXPIRED)


def test_a_due_hold_counts_as_expired_in_a_replay(harness: LedgerHarness) -> None:
    """Between its end and the next expiry run, no call may use it."""
    repeat(harness)
    assert repeat(harness, NOON + 90 * SECOND_US - 1).hold_state is HoldState.OPEN
    assert repeat(harness, NOON + 90 * SECOND_US).hold_state is HoldState.EXPIRED
    assert repeat(harness).hold_state is HoldState.EXPIRED  # L9: a clock set back revives nothing


def test_two_of_one_group_with_one_request_id_are_one_call(harness: LedgerHarness) -> None:
    """L3: the second of one commit finds the first, and its open hold."""
    decide(harness, NOON, TOKENS, tokens=1)
    answers = harness.together(
        *(harness.ledger.decide(reservation(NOON, TOKENS, request_id="a")) for _ in "123")
    )
    found = [answer for answer in answers if isinstance(answer, Decision)]
    assert [(a.replayed, a.hold_state) for a in found] == [
        (False, HoldState.OPEN), (True, HoldState.OPEN), (True, HoldState.OPEN),
    ]  # fmt: skip
    assert len({answer.hold_id for answer in found}) == 1
    assert budget(harness, TOKENS, NOON).held == 101


def test_a_repeat_in_the_group_of_its_settlement_finds_it_closed(harness: LedgerHarness) -> None:
    """What a group frees comes first: a repeat of that moment sees the hold settled."""
    hold_id = repeat(harness).hold_id
    request = reservation(NOON, TOKENS, request_id="a")
    again, _ = harness.together(
        harness.ledger.decide(request), harness.ledger.settle(hold_id, settlement(NOON, 5))
    )
    assert isinstance(again, Decision)
    assert (again.replayed, again.hold_state) == (True, HoldState.SETTLED)


def test_a_replayed_denial_has_no_state_of_a_hold(harness: LedgerHarness) -> None:
    """It has no hold."""
    for replayed in (False, True):
        denied = decide(harness, NOON, limit(1), request_id="d")
        assert (allowed(denied), denied.replayed, denied.hold_state) == (False, replayed, None)


def test_a_dry_run_is_never_a_repeat(harness: LedgerHarness) -> None:
    """It looks at no request_id, and has no hold."""
    repeat(harness)
    preview = harness.ledger.preview(reservation(NOON, TOKENS, request_id="a"))
    assert (preview.replayed, preview.hold_state) == (False, None)


def test_the_fields_of_a_replay_are_not_recorded(harness: LedgerHarness) -> None:
    """L3: the first response is kept, and replays do not change the chain."""
    first = repeat(harness)
    harness.run(harness.ledger.settle(first.hold_id, settlement(NOON, 5)))
    repeat(harness)
    harness.reopen()
    assert repeat(harness) == first
