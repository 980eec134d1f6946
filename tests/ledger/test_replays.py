"""Replays: a repeated request_id is marked as replayed, with its hold's state now."""

import asyncio
from datetime import UTC, datetime, tzinfo
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from ledger.conftest import LedgerHarness
from ledger.test_promises import NOON, TOKENS, allowed, budget, decide
from support.reservations import limit, reservation, settlement

from sidecar.domain.clock import SECOND_US, to_us
from sidecar.domain.decisions import Decision, HoldState, Meter
from sidecar.domain.windows import Window
from sidecar.ledger import ledger_file
from sidecar.ledger.sqlite import SqliteLedger


def repeat(harness: LedgerHarness, at_us: int = NOON) -> Decision:
    """Decide the call "a", which may have been decided before."""
    return decide(harness, at_us, TOKENS, request_id="a", ttl_us=90 * SECOND_US)


def test_l3_a_replay_is_marked_and_has_the_same_decision(harness: LedgerHarness) -> None:
    """L3: that it is a repeat is no part of what has to be the same."""
    first, again = repeat(harness), repeat(harness)
    assert (first.replayed, first.hold_state) == (False, HoldState.OPEN)
    assert (again.replayed, again.hold_state) == (True, HoldState.OPEN)
    assert first == again


@pytest.mark.parametrize("window", list(Window))
@pytest.mark.parametrize("ceiling", [None, 10**9])
def test_l3_a_replay_has_the_budgets_of_then(
    harness: LedgerHarness, window: Window, ceiling: int | None
) -> None:
    """L3: in each kind of window, also after later calls, a settlement and a restart."""
    meter = Meter.REQUESTS if window is Window.CONCURRENT else Meter.COST
    limits = (limit(ceiling, meter, window, scope="ä'\""), TOKENS)
    first = decide(harness, NOON, *limits, request_id="a")
    late = decide(harness, NOON + SECOND_US, *limits, tokens=5)
    harness.run(harness.ledger.settle(late.hold_id, settlement(NOON + SECOND_US, 7)))
    harness.reopen()
    again = decide(harness, NOON + 2 * SECOND_US, *limits, request_id="a")
    assert (again.replayed, again.budgets, again) == (True, first.budgets, first)


def test_l3_a_replay_has_the_end_of_a_window_as_it_was(tmp_path: Path) -> None:
    """L3: March begins at the same time in both zones, and ends an hour earlier in London."""
    path, month = tmp_path / "ledger.sqlite", limit(10**9, window=Window.MONTH)
    in_march = to_us(datetime(2027, 3, 10, tzinfo=UTC))

    async def ends(zone: tzinfo) -> list[int | None]:
        ledger = SqliteLedger(path, zone)
        decided = [
            await ledger.decide(reservation(in_march, month, request_id=request_id))
            for request_id in ("", "a")
        ]
        await ledger.close()
        return [one.budgets[0].window_end_us for one in decided]

    april = to_us(datetime(2027, 4, 1, tzinfo=UTC))
    assert asyncio.run(ends(UTC)) == [april, april]
    assert asyncio.run(ends(ZoneInfo("Europe/London"))) == [april - 3600 * SECOND_US, april]


def test_the_view_of_budgets_has_those_of_allowed_and_denied_calls(harness: LedgerHarness) -> None:
    """In the order of the answer, whatever the form in the column; a rule may look like a row."""
    named_as_a_row = limit(150, rule="1")
    allowed_one = decide(harness, NOON, named_as_a_row, TOKENS)
    denied = decide(harness, NOON, named_as_a_row, TOKENS)
    assert (allowed(allowed_one), allowed(denied)) == (True, False)
    found = ledger_file.open_reader(harness.path).execute(
        "SELECT decision, rule, meter, scope, window_start_us, window_end_us, ceiling, spent, held"
        " FROM decision_budgets ORDER BY decision, place"
    )
    assert found.fetchall() == [
        (row, *budget[:8]) for row, one in ((1, allowed_one), (2, denied)) for budget in one.budgets
    ]


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
