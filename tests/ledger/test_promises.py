"""The ledger's promises L1 to L9, on every backend, by example."""

from datetime import UTC, datetime
from typing import Any

import pytest
from ledger.conftest import LedgerHarness
from support.reservations import TARIFF, limit, reservation, settlement

from sidecar.domain.clock import SECOND_US, to_us
from sidecar.domain.decisions import Budget, Decision, Effect, HoldState, Limit, Meter, Reason
from sidecar.domain.windows import Window
from sidecar.ledger.protocol import HoldUnknownError, RequestIdReusedError

NOON = to_us(datetime(2026, 11, 10, 12, tzinfo=UTC))
HOUR = 3600 * SECOND_US
DAY = 24 * HOUR

TOKENS = limit(1000)


def decide(harness: LedgerHarness, at_us: int, *limits: Limit, **kwargs: Any) -> Decision:
    """Decide one call."""
    return harness.run(harness.ledger.decide(reservation(at_us, *limits, **kwargs)))


def allowed(decision: Decision) -> bool:
    """Whether it may go out."""
    return decision.effect is Effect.ALLOW


def budget(harness: LedgerHarness, one: Limit, at_us: int) -> Budget:
    """Return how one limit stands."""
    (found,) = harness.ledger.budgets([one], at_us)
    return found


# -- L1 never over ---------------------------------------------------------


def test_l1_a_ceiling_is_reached_to_the_unit_and_never_passed(harness: LedgerHarness) -> None:
    """L1: spent + held + this hold may equal the ceiling, and no more."""
    answers = [allowed(decide(harness, NOON, TOKENS, tokens=n)) for n in (400, 601, 600, 1)]
    assert answers == [True, False, True, False]
    assert budget(harness, TOKENS, NOON).remaining == 0


def test_l1_many_at_once_share_a_transaction_and_still_do_not_pass(harness: LedgerHarness) -> None:
    """L1: a hundred calls in one group commit, room for nine more."""
    decide(harness, NOON, TOKENS)
    work = [harness.ledger.decide(reservation(NOON, TOKENS)) for _ in range(100)]
    answers = harness.together(*work)
    assert sum(isinstance(a, Decision) and allowed(a) for a in answers) == 9


def test_l1_all_limits_are_held_or_none(harness: LedgerHarness) -> None:
    """L1: a refusal by one limit leaves nothing on the others; it says which refused."""
    wide, narrow = limit(10_000, rule="wide"), limit(150, rule="narrow", scope="ada")
    first, second = (decide(harness, NOON, wide, narrow) for _ in range(2))
    assert (allowed(first), allowed(second)) == (True, False)
    assert [reason.rule for reason in second.reasons] == ["narrow"]
    assert (budget(harness, wide, NOON).held, budget(harness, narrow, NOON).held) == (100, 100)


def test_l1_each_scope_has_a_budget_of_its_own(harness: LedgerHarness) -> None:
    """L1: what one scope of a limit has used up is no loss to another."""
    first, second = (limit(150, rule="each", scope=scope) for scope in ("ada", "bob"))
    assert [allowed(decide(harness, NOON, one)) for one in (first, second, first)] == [
        True,
        True,
        False,
    ]
    assert [budget(harness, one, NOON).held for one in (first, second)] == [100, 100]


def test_l1_spend_takes_room_and_a_release_gives_it_back(harness: LedgerHarness) -> None:
    """L1: settling below the hold frees the difference; settling above takes it."""
    hold = decide(harness, NOON, TOKENS, tokens=1000).hold_id
    assert not allowed(decide(harness, NOON, TOKENS, tokens=1))
    harness.run(harness.ledger.settle(hold, settlement(NOON, 300)))
    assert not allowed(decide(harness, NOON, TOKENS, tokens=701))
    assert allowed(decide(harness, NOON, TOKENS, tokens=700))


def test_l1_a_ceiling_that_goes_down_applies_to_what_is_already_spent(
    harness: LedgerHarness,
) -> None:
    """L1: a new ceiling is compared with all that the window has seen."""
    decide(harness, NOON, TOKENS, tokens=500)
    lower = limit(550)
    assert not allowed(decide(harness, NOON, lower))
    assert budget(harness, lower, NOON).remaining == 50
    assert budget(harness, limit(400), NOON).remaining == 0


def test_l1_no_sixty_seconds_admit_more_than_the_ceiling(harness: LedgerHarness) -> None:
    """L1: a minute slides: five early ones count until each is a minute old."""
    rate = limit(5, Meter.REQUESTS, Window.MINUTE)
    starts = [0, 0.2, 30, 30.9, 59]
    assert all(allowed(decide(harness, NOON + int(s * SECOND_US), rate)) for s in starts)
    refused = decide(harness, NOON + int(59.5 * SECOND_US), rate)
    assert not allowed(refused)
    # Both of the first second count until the later one is a minute old.
    assert int(0.7 * SECOND_US) == refused.retry_after_us
    later = NOON + int(60.2 * SECOND_US)
    assert [allowed(decide(harness, later, rate)) for _ in range(3)] == [True, True, False]


def test_l1_concurrent_counts_open_holds_alone(harness: LedgerHarness) -> None:
    """L1: closing a hold makes room at once, and spends nothing there."""
    two = limit(2, Meter.REQUESTS, Window.CONCURRENT)
    first, second, third = (decide(harness, NOON, two, ttl_us=90 * SECOND_US) for _ in range(3))
    assert [allowed(d) for d in (first, second, third)] == [True, True, False]
    assert third.retry_after_us == 90 * SECOND_US
    harness.run(harness.ledger.settle(first.hold_id, settlement(NOON, 5)))
    assert (budget(harness, two, NOON).spent, budget(harness, two, NOON).held) == (0, 1)
    assert allowed(decide(harness, NOON, two))


def test_l1_a_hold_that_is_due_makes_room_when_it_is_due(harness: LedgerHarness) -> None:
    """L1: a retry after retry_after is not refused again."""
    one = limit(1, Meter.REQUESTS, Window.CONCURRENT)
    decide(harness, NOON, one, ttl_us=SECOND_US)
    refused = decide(harness, NOON, one)
    assert refused.retry_after_us == SECOND_US
    assert allowed(decide(harness, NOON + refused.retry_after_us, one))


def test_l1_unlimited_counts_and_never_refuses(harness: LedgerHarness) -> None:
    """L1: without a ceiling everything fits, and is still counted."""
    free = limit(None)
    assert all(allowed(decide(harness, NOON, free, tokens=10**9)) for _ in range(3))
    assert (budget(harness, free, NOON).held, budget(harness, free, NOON).remaining) == (
        3 * 10**9,
        None,
    )


def test_l1_a_call_that_takes_nothing_fits_a_budget_that_is_over(harness: LedgerHarness) -> None:
    """A model that costs nothing goes on when the money is gone; one that costs does not."""
    hold = decide(harness, NOON, limit(100), tokens=100).hold_id
    harness.run(harness.ledger.settle(hold, settlement(NOON, 130)))
    assert allowed(decide(harness, NOON, limit(100), tokens=0))
    assert not allowed(decide(harness, NOON, limit(100), tokens=1))
    assert budget(harness, limit(100), NOON).spent == 130


def test_l1_a_ceiling_of_zero_stops_what_takes_nothing_too(harness: LedgerHarness) -> None:
    """It is a switch that stops everything, and waiting does not help."""
    stopped = decide(harness, NOON, limit(0), tokens=0)
    assert (allowed(stopped), stopped.retry_after_us) == (False, 0)
    assert stopped.reasons[0].code == "LARGER_THAN_BUDGET"


def test_l1_a_dry_run_answers_and_holds_nothing(harness: LedgerHarness) -> None:
    """L1: a dry run holds nothing, and is not recorded."""
    preview = harness.ledger.preview(reservation(NOON, TOKENS, tokens=900))
    assert (preview.effect, preview.hold_id) == (Effect.ALLOW, "")
    assert budget(harness, TOKENS, NOON).remaining == 1000
    assert Effect.DENY is harness.ledger.preview(reservation(NOON, TOKENS, tokens=1001)).effect


# -- L2 conservation: `harness` verifies every test of this folder at its end; see test_verify.py


# -- L3 idempotent -----------------------------------------------------------


def test_l3_a_repeat_gets_the_same_answer_and_holds_nothing_more(harness: LedgerHarness) -> None:
    """L3: the same request id and content give one decision and one hold."""
    first, second = (decide(harness, NOON + n, TOKENS, request_id="r") for n in range(2))
    assert first == second
    assert budget(harness, TOKENS, NOON).held == 100


def test_l3_a_denial_is_repeated_too(harness: LedgerHarness) -> None:
    """L3: a repeat of a denied request is denied for the same reasons, with the same budgets."""
    why = (Reason("NO", "no", "rule", 403),)
    first = decide(harness, NOON, TOKENS, request_id="r", reasons=why)
    decide(harness, NOON, TOKENS)
    assert first == decide(harness, NOON, TOKENS, request_id="r", reasons=why)


def test_l3_repeats_within_one_transaction_are_one(harness: LedgerHarness) -> None:
    """L3: copies that arrive together are as one, too."""
    copies = [harness.ledger.decide(reservation(NOON, TOKENS, request_id="r")) for _ in range(5)]
    answers = harness.together(*copies)
    assert len({a.hold_id for a in answers if isinstance(a, Decision)}) == 1
    assert budget(harness, TOKENS, NOON).held == 100


def test_l3_a_request_id_with_other_content_is_refused(harness: LedgerHarness) -> None:
    """L3: an id stands for one request; the second changes nothing."""
    decide(harness, NOON, TOKENS, request_id="r", fingerprint=b"one")
    with pytest.raises(RequestIdReusedError):
        decide(harness, NOON, TOKENS, request_id="r", fingerprint=b"two")
    assert budget(harness, TOKENS, NOON).held == 100


@pytest.mark.parametrize(
    "other",
    [{"principal_id": "eve"}, {"workspace": "other"}, {"owner": "ada"}, {"owner": "eve"}],
    ids=str,
)
def test_l3_a_request_id_belongs_to_its_caller(
    harness: LedgerHarness, other: dict[str, str]
) -> None:
    """L3: another caller may use the same one, learns nothing of it, and takes it from no other."""
    taken = decide(harness, NOON, limit(1), request_id="r", fingerprint=b"theirs", **other)
    assert (allowed(taken), taken.request_id) == (False, "r")
    first = decide(harness, NOON, TOKENS, request_id="r", fingerprint=b"ours")
    assert (allowed(first), first.replayed) == (True, False)
    again = decide(harness, NOON, TOKENS, request_id="r", fingerprint=b"ours")
    assert (again.hold_id, again.request_id, again.replayed) == (first.hold_id, "r", True)
    harness.reopen()
    with pytest.raises(RequestIdReusedError):
        decide(harness, NOON, TOKENS, request_id="r", fingerprint=b"else", **other)


def test_l3_a_proven_owner_keeps_its_request_ids_in_every_workspace(
    harness: LedgerHarness,
) -> None:
    """L3: an id belongs to the owner alone, whatever else a request says."""
    for workspace in ("lab", "other"):
        one = decide(
            harness,
            NOON,
            TOKENS,
            request_id="r",
            fingerprint=b"f",
            workspace=workspace,
            owner="ada",
        )
    assert one.replayed


def test_l3_repeats_survive_a_restart(harness: LedgerHarness) -> None:
    """L3: the answer is on disk, not in memory."""
    first = decide(harness, NOON, TOKENS, request_id="r")
    harness.reopen()
    assert first == decide(harness, NOON + HOUR, TOKENS, request_id="r")


def test_l3_a_hold_closes_once(harness: LedgerHarness) -> None:
    """L3: a second Settle or Release returns the first outcome."""
    hold = decide(harness, NOON, TOKENS).hold_id
    first = harness.run(harness.ledger.settle(hold, settlement(NOON, 40)))
    second = harness.run(harness.ledger.settle(hold, settlement(NOON, 90)))
    third = harness.run(harness.ledger.release(hold, "not sent", NOON))
    assert [charge.tokens for charge in (first, second, third)] == [40, 40, 40]
    assert budget(harness, TOKENS, NOON).spent == 40


def test_l3_a_released_hold_stays_released(harness: LedgerHarness) -> None:
    """L3: a second Release gives nothing back, and Settle after Release charges nothing."""
    hold, _ = (decide(harness, NOON, TOKENS).hold_id for _ in range(2))
    for _ in range(2):
        harness.run(harness.ledger.release(hold, "not sent", NOON))
        assert budget(harness, TOKENS, NOON).remaining == 900
    assert harness.run(harness.ledger.settle(hold, settlement(NOON, 90))).tokens == 0
    assert budget(harness, TOKENS, NOON).remaining == 900


def test_l3_an_unknown_hold_is_an_error(harness: LedgerHarness) -> None:
    """L3: an id that was never given is not a hold."""
    for work in (
        harness.ledger.settle("hold_x", settlement(NOON, 1)),
        harness.ledger.release("hold_x", "not sent", NOON),
    ):
        with pytest.raises(HoldUnknownError):
            harness.run(work)
    with pytest.raises(HoldUnknownError):
        harness.ledger.hold("hold_x")


# -- L4 durable: see tests/crashes for kill -9 ------------------------------


def test_l4_answered_decisions_survive_a_restart(harness: LedgerHarness) -> None:
    """L4: spent and held amounts, and the hold itself, are read from disk."""
    settled = decide(harness, NOON, TOKENS).hold_id
    harness.run(harness.ledger.settle(settled, settlement(NOON, 30)))
    open_hold = decide(harness, NOON, TOKENS, tokens=200).hold_id
    harness.reopen()
    assert (budget(harness, TOKENS, NOON).spent, budget(harness, TOKENS, NOON).held) == (30, 200)
    hold = harness.ledger.hold(open_hold)
    assert (hold.state, hold.cost_nano_usd) == (HoldState.OPEN, 200_000)
    assert hold.tariff is not None
    assert (TARIFF.price, TARIFF.multipliers) == (hold.tariff.price, hold.tariff.multipliers)


# -- L5 unknown is spent ------------------------------------------------------


def test_l5_a_hold_that_expires_is_charged_in_full(harness: LedgerHarness) -> None:
    """L5: the call's outcome is unknown, so its worst case is spent."""
    hold = decide(harness, NOON, TOKENS, ttl_us=60 * SECOND_US).hold_id
    assert harness.run(harness.ledger.expire(NOON + 59 * SECOND_US)) == 0
    assert harness.run(harness.ledger.expire(NOON + 60 * SECOND_US)) == 1
    assert (budget(harness, TOKENS, NOON).spent, budget(harness, TOKENS, NOON).held) == (100, 0)
    assert HoldState.EXPIRED is harness.ledger.hold(hold).state


def test_l5_a_limit_may_release_what_expires(harness: LedgerHarness) -> None:
    """L5: `on_expiry: release` frees the hold on that limit."""
    decide(harness, NOON, TOKENS, ttl_us=SECOND_US, charge_on_expiry=False)
    harness.run(harness.ledger.expire(NOON + SECOND_US))
    assert (budget(harness, TOKENS, NOON).spent, budget(harness, TOKENS, NOON).held) == (0, 0)


@pytest.mark.parametrize("charge_on_expiry", [True, False])
def test_l5_a_late_settle_corrects_what_expiry_charged(
    harness: LedgerHarness, charge_on_expiry: bool
) -> None:
    """L5: the real usage replaces the charge of the expiry, in full."""
    hold = decide(
        harness, NOON, TOKENS, ttl_us=SECOND_US, charge_on_expiry=charge_on_expiry
    ).hold_id
    harness.run(harness.ledger.expire(NOON + SECOND_US))
    charge = harness.run(harness.ledger.settle(hold, settlement(NOON + HOUR, 30)))
    assert (charge.tokens, budget(harness, TOKENS, NOON + HOUR).spent) == (30, 30)


def test_l5_a_late_release_frees_what_expiry_charged(harness: LedgerHarness) -> None:
    """L5: the app found out that the call was never sent."""
    hold = decide(harness, NOON, TOKENS, ttl_us=SECOND_US).hold_id
    harness.run(harness.ledger.expire(NOON + SECOND_US))
    harness.run(harness.ledger.release(hold, "not sent", NOON + HOUR))
    assert budget(harness, TOKENS, NOON + HOUR).remaining == 1000


def test_l5_use_above_the_hold_is_charged_in_full_and_flagged(harness: LedgerHarness) -> None:
    """L5: the provider bills it, so the ledger has it, past the ceiling if need be."""
    hold = decide(harness, NOON, TOKENS, tokens=900).hold_id
    charge = harness.run(harness.ledger.settle(hold, settlement(NOON, 1200)))
    assert (charge.tokens, charge.overrun) == (1200, True)
    assert (budget(harness, TOKENS, NOON).spent, budget(harness, TOKENS, NOON).remaining) == (
        1200,
        0,
    )
    assert not allowed(decide(harness, NOON, TOKENS, tokens=1))


# -- L6 own window ------------------------------------------------------------


@pytest.mark.parametrize(
    ("window", "later"), [(Window.HOUR, HOUR), (Window.DAY, DAY), (Window.MONTH, 31 * DAY)]
)
def test_l6_a_hold_settles_into_the_window_it_was_authorized_in(
    harness: LedgerHarness, window: Window, later: int
) -> None:
    """L6: yesterday's call is yesterday's spend, and leaves today's budget alone."""
    one = limit(1000, window=window)
    hold = decide(harness, NOON, one, tokens=1000).hold_id
    assert allowed(decide(harness, NOON + later, one, tokens=1000))
    harness.run(harness.ledger.settle(hold, settlement(NOON + later, 5)))
    assert (
        budget(harness, one, NOON + later).spent,
        budget(harness, one, NOON + later).held,
    ) == (0, 1000)


# -- L7 integers ----------------------------------------------------------------


def test_l7_every_amount_in_the_file_is_an_integer(harness: LedgerHarness) -> None:
    """L7: the tables are STRICT, and no column for an amount is a REAL."""
    decide(harness, NOON, TOKENS, limit(10**12, Meter.COST))
    ledger: Any = harness.ledger
    sql = ledger._commits._connection.execute  # noqa: SLF001
    tables = sql("SELECT name, strict FROM pragma_table_list WHERE type = 'table'").fetchall()
    ours = {name for name, _ in tables if not name.startswith(("sqlite_", "_sqlite"))}
    assert ours == {
        "adjustments", "alert_deliveries", "alerts", "budgets", "decisions", "denials",
        "denials_gone", "holds", "model_retirements", "policy_sets", "prices",
        "prunings", "key_versions", "key_rotations", "key_rotation_steps", "key_tracking",
        "key_usage_counted", "key_usage_until", "time_corrections", "ledger_identity",
            "holder", "shares",
    }  # fmt: skip
    assert all(strict for name, strict in tables if name in ours)
    for name in ours:
        kinds = {kind for (kind,) in sql(f"SELECT type FROM pragma_table_info('{name}')")}
        assert kinds <= {"INTEGER", "TEXT", "BLOB"}


def test_l7_a_hold_records_the_version_of_its_price(harness: LedgerHarness) -> None:
    """L7: what a call cost can be recomputed when the price list has changed."""
    hold = harness.ledger.hold(decide(harness, NOON, TOKENS).hold_id)
    assert hold.tariff is not None
    assert hold.tariff.price.price_id == "small-1@2020-01-01"


# -- L8 no second truth ---------------------------------------------------------


def test_l8_a_new_window_is_a_new_row(harness: LedgerHarness) -> None:
    """L8: nothing is set back to zero; the old window stays as it was."""
    for day in range(3):
        decide(harness, NOON + day * DAY, TOKENS, tokens=100 + day)
    ledger: Any = harness.ledger
    connection = ledger._commits._connection  # noqa: SLF001
    held = connection.execute("SELECT held FROM budgets ORDER BY window_start_us").fetchall()
    assert held == [(100,), (101,), (102,)]


# -- L9 time never helps --------------------------------------------------------


@pytest.mark.parametrize("window", [Window.MINUTE, Window.HOUR, Window.DAY, Window.MONTH])
@pytest.mark.parametrize("reopen", [False, True])
def test_l9_a_clock_set_back_does_not_reopen_a_window(
    harness: LedgerHarness, window: Window, reopen: bool
) -> None:
    """L9: the ledger's time stands still until the clock has caught up, restarts included."""
    one = limit(1000, window=window)
    decide(harness, NOON, one, tokens=1000)
    if reopen:
        harness.reopen()
    for back in (SECOND_US, HOUR, DAY, 60 * DAY):
        assert not allowed(decide(harness, NOON - back, one, tokens=1))
        assert budget(harness, one, NOON - back).remaining == 0


def test_l9_a_clock_that_jumps_forward_and_back_opens_one_window_once(
    harness: LedgerHarness,
) -> None:
    """L9: a day ahead and back again gives the budget of that day, and no other."""
    assert allowed(decide(harness, NOON, TOKENS, tokens=1000))
    assert allowed(decide(harness, NOON + DAY, TOKENS, tokens=1000))
    assert not allowed(decide(harness, NOON, TOKENS, tokens=1))
    assert not allowed(decide(harness, NOON + DAY, TOKENS, tokens=1))
    assert allowed(decide(harness, NOON + 2 * DAY, TOKENS, tokens=1))


@pytest.mark.parametrize("reopen", [False, True])
def test_l9_time_stands_still_while_the_clock_is_behind(
    harness: LedgerHarness, reopen: bool
) -> None:
    """L9: a hold that is opened by a clock set back expires as if it had not been set back."""
    decide(harness, NOON, TOKENS)
    if reopen:
        harness.reopen()
    late = decide(harness, NOON - HOUR, TOKENS, ttl_us=SECOND_US)
    assert late.hold_expires_at_us == NOON + SECOND_US


def test_l9_a_preview_of_a_later_time_does_not_move_the_ledgers_time(
    harness: LedgerHarness,
) -> None:
    """L9: a dry run at a later time does not move the ledger's time."""
    one = limit(1000, window=Window.HOUR)
    decide(harness, NOON, one, tokens=900)
    assert harness.ledger.preview(reservation(NOON + HOUR, one, tokens=900)).effect is Effect.ALLOW
    assert budget(harness, one, NOON + HOUR).remaining == 1000
    refused = decide(harness, NOON + SECOND_US, one, tokens=900)
    assert (allowed(refused), refused.retry_after_us) == (False, HOUR - SECOND_US)


@pytest.mark.parametrize("charge", [True, False])
def test_l5_a_preview_counts_due_holds_as_expired(harness: LedgerHarness, charge: bool) -> None:
    """L5: at a time at which a hold has expired it is charged, or room, as its limit says."""
    for one, room in (
        (limit(1000), 0 if charge else 1000),
        (limit(1, Meter.REQUESTS, Window.CONCURRENT), 1),
    ):
        decide(harness, NOON, one, tokens=1000, ttl_us=SECOND_US, charge_on_expiry=charge)
        for at_us, left in ((NOON, 0), (NOON + SECOND_US, room)):
            found = harness.ledger.preview(reservation(at_us, one, tokens=1))
            assert [b.remaining for b in found.budgets] == [left]
            assert allowed(found) == bool(left)
