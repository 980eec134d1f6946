"""A1: each threshold of each scope and window raises one alert, with the decision that reached it."""

import json
import sqlite3
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from ledger.conftest import LedgerHarness
from support.reservations import limit, reservation, settlement

from sidecar.domain.alerts import Alert, AlertKind, Origin
from sidecar.domain.clock import SECOND_US
from sidecar.domain.decisions import Decision, HoldState, Limit, Meter, Reason
from sidecar.domain.windows import Window
from sidecar.ledger import ledger_file
from sidecar.ledger.alerts import MAX_UNSPENT_SCOPES
from sidecar.ledger.protocol import LedgerUnavailableError
from sidecar.ledger.sqlite import SqliteLedger
from sidecar.ledger.verify import verify

NOON = 1_794_398_400 * SECOND_US
HOUR = 3600 * SECOND_US
DAY = 24 * HOUR
DAILY = limit(100)
USUAL = (50, 80, 100)


def ask(
    harness: LedgerHarness, tokens: int, at_us: int = NOON, one: Limit = DAILY, **changes: Any
) -> Decision:
    """Decide a call of this many tokens on a limit with thresholds at 50, 80 and 100 %."""
    values = {"alert_at": USUAL, **changes}
    return harness.run(harness.ledger.decide(reservation(at_us, one, tokens=tokens, **values)))


def alerts_of(
    harness: LedgerHarness, kind: str = "threshold", columns: str = "percent"
) -> list[Any]:
    """Return the raised alerts, in order."""
    reader = ledger_file.open_reader(harness.path)
    found = reader.execute(f"SELECT {columns} FROM alerts WHERE kind = ? ORDER BY id", (kind,))
    return [row[0] if len(row) == 1 else row for row in found.fetchall()]


def test_each_threshold_raises_one_alert_when_it_is_reached(harness: LedgerHarness) -> None:
    """A1: exactly at the threshold, not a token before, and once."""
    for tokens, expected in ((49, []), (1, [50]), (29, [50]), (1, [50, 80]), (19, [50, 80])):
        ask(harness, tokens)
        assert alerts_of(harness) == expected
    ask(harness, 1)
    ask(harness, 1)
    assert alerts_of(harness) == [50, 80, 100]


def test_an_alert_has_the_balance_and_the_ceiling_of_the_window(harness: LedgerHarness) -> None:
    """The amounts after the decision, with its own hold."""
    harness.run(harness.ledger.settle(ask(harness, 30).hold_id, settlement(NOON, 20)))
    ask(harness, 40)
    (row,) = harness.ledger.due("log", NOON, 9)  # type: ignore[attr-defined]
    alert: Alert = row.alert
    assert (alert.rule, alert.scope, alert.meter, alert.window) == (
        "tokens-day", "lab", Meter.TOKENS, Window.DAY,
    )  # fmt: skip
    assert (alert.percent, alert.ceiling, alert.spent, alert.held) == (50, 100, 20, 40)
    assert (alert.raised_at_us, alert.window_end_us - alert.window_start_us) == (NOON, DAY)
    assert alert.text() == (
        "tokens-day has reached 50 % of 100 tokens for lab: 20 tokens spent, 40 tokens held,"
        " until 2026-11-12 00:00 UTC"
    )


@pytest.mark.parametrize(
    ("share", "whole", "end"),
    [
        ("1/1", 100, "UTC; sidecar app-0:/l.sqlite"),
        ("1/3", 301, "UTC; sidecar app-0:/l.sqlite, share 1/3 of 301 tokens"),
        ("1/3", None, "UTC; sidecar app-0:/l.sqlite, share 1/3"),
    ],
)
def test_an_alert_names_its_sidecar_and_share(
    share: str, whole: int | None, end: str, tmp_path: Path
) -> None:
    """The instance, its share, and the ceiling of all shares, if that is known."""
    origin = Origin("app-0:/l.sqlite", share)
    harness = LedgerHarness(
        lambda path: SqliteLedger(path, origin=origin), tmp_path / "ledger.sqlite"
    )
    request = reservation(NOON, DAILY._replace(undivided_ceiling=whole), tokens=50, alert_at=USUAL)
    harness.run(harness.ledger.decide(request))
    harness.reopen()
    (row,) = harness.ledger.due("log", NOON, 9)  # type: ignore[attr-defined]
    assert (row.alert.instance, row.alert.share) == tuple(origin)
    assert (row.alert.ceiling, row.alert.undivided_ceiling) == (100, whole)
    assert row.alert.text().endswith(end)
    harness.close()


def test_one_large_call_reaches_every_threshold(harness: LedgerHarness) -> None:
    """A1: from nothing to all in one step is three alerts."""
    ask(harness, 100)
    assert alerts_of(harness) == [50, 80, 100]


def test_concurrent_calls_over_a_threshold_raise_one_alert(harness: LedgerHarness) -> None:
    """A1: for any number of decisions of one transaction."""
    calls = [
        harness.ledger.decide(reservation(NOON, DAILY, tokens=3, alert_at=USUAL)) for _ in range(50)
    ]
    harness.together(*calls)
    assert alerts_of(harness) == [50, 80, 100]


def test_each_scope_rule_and_window_has_its_own_alert(harness: LedgerHarness) -> None:
    """A1: one for each of them."""
    for at_us in (NOON, NOON + DAY):
        for scope in ("lab", "attic"):
            for rule in ("one", "two"):
                ask(harness, 50, at_us, limit(100, scope=scope, rule=rule))
    found = alerts_of(harness, columns="rule, scope, window_start_us")
    assert (len(found), len(set(found))) == (8, 8)


def test_a_restart_raises_no_alert_again(harness: LedgerHarness) -> None:
    """A1: the ledger remembers the alerts."""
    ask(harness, 80)
    harness.reopen()
    ask(harness, 5)
    ask(harness, 15)
    assert alerts_of(harness) == [50, 80, 100]


def test_a_clock_set_back_raises_no_alert_again(harness: LedgerHarness) -> None:
    """A1, L9: neither in this process nor after a restart."""
    ask(harness, 60)
    ask(harness, 60, NOON + DAY)
    harness.reopen()
    ask(harness, 10, NOON)
    assert alerts_of(harness) == [50, 50]


def test_a_rolled_back_alert_is_raised_by_the_retry(harness: LedgerHarness) -> None:
    """A1: an error of another request in the group undoes the alert, and the retry raises it."""
    raised: list[Alert] = []
    harness.ledger.on_raised(raised.extend)  # type: ignore[attr-defined]
    harness.together(
        harness.ledger.decide(reservation(NOON, DAILY, tokens=60, alert_at=USUAL)),
        harness.ledger.decide(reservation(NOON, limit(None, Meter.COST), tokens=2**70)),
    )
    assert alerts_of(harness) == [alert.percent for alert in raised] == [50]


def test_a_transaction_that_fails_raises_no_alert(harness: LedgerHarness) -> None:
    """A1: an alert is raised when its transaction is committed."""
    raised: list[Alert] = []
    ledger: Any = harness.ledger
    ledger.on_raised(raised.extend)
    writer = ledger._commits._connection  # noqa: SLF001 - make the next commit fail
    writer.execute("CREATE TRIGGER no BEFORE INSERT ON alert_deliveries"
                   " BEGIN SELECT raise(ABORT, 'x'); END")  # fmt: skip
    (failed,) = harness.together(ledger.decide(reservation(NOON, DAILY, tokens=60, alert_at=USUAL)))
    assert isinstance(failed, LedgerUnavailableError)
    writer.execute("DROP TRIGGER no")
    assert (alerts_of(harness), raised) == ([], [])
    ask(harness, 60)
    assert alerts_of(harness) == [alert.percent for alert in raised] == [50]


def test_a_refused_call_raises_the_alerts_up_to_100_percent(harness: LedgerHarness) -> None:
    """A refusal is what the last threshold is for; one beyond the ceiling takes real use."""
    ask(harness, 10, alert_at=(50, 100, 120))
    assert not ask(harness, 91, alert_at=(50, 100, 120)).hold_id
    assert alerts_of(harness) == [50, 100]


def test_a_call_that_rules_deny_raises_no_alert(harness: LedgerHarness) -> None:
    """It requested no room."""
    ask(harness, 1000, reasons=(Reason("NO", "no", "some-rule", 403),))
    assert alerts_of(harness) == []


def test_a_threshold_reached_without_a_call_is_reported_with_the_next_call(
    harness: LedgerHarness,
) -> None:
    """By a lower ceiling, an adjustment or an overrun."""
    hold = ask(harness, 10).hold_id
    harness.run(harness.ledger.settle(hold, settlement(NOON, 45)))
    ask(harness, 5)
    assert alerts_of(harness) == [50]
    harness.run(harness.ledger.adjust("tokens-day", "lab", 25, "ada", "a test", NOON))
    ask(harness, 5)
    assert alerts_of(harness) == [50, 80]
    ask(harness, 0, one=DAILY._replace(ceiling=70))
    assert alerts_of(harness) == [50, 80, 100]


def test_a_threshold_added_later_raises_its_alert(harness: LedgerHarness) -> None:
    """A1: once, also below a threshold that was reported before."""
    ask(harness, 85)
    ask(harness, 1, alert_at=(50, 60, 80))
    ask(harness, 1, alert_at=(60,))
    assert sorted(alerts_of(harness)) == [50, 60, 80]


def test_a_call_larger_than_the_budget_raises_no_alert(harness: LedgerHarness) -> None:
    """A1: nothing is spent, and the thresholds can still raise their alerts."""
    ask(harness, 101)
    assert alerts_of(harness) == []
    ask(harness, 100)
    assert sorted(alerts_of(harness)) == [50, 80, 100]


@pytest.mark.parametrize("tokens", [0, 1])
def test_a_ceiling_of_0_raises_its_alert_at_the_first_call(
    tokens: int, harness: LedgerHarness
) -> None:
    """It denies every call, one that takes nothing included."""
    assert not ask(harness, tokens, one=DAILY._replace(ceiling=0)).hold_id
    assert alerts_of(harness) == [50, 80, 100]


def test_invented_scopes_raise_a_bounded_number_of_alerts(harness: LedgerHarness) -> None:
    """D1: a denied caller cannot fill the disk with them; scopes that spend have theirs all."""

    async def deny() -> None:
        for number in range(MAX_UNSPENT_SCOPES + 5):
            one = DAILY._replace(ceiling=0, scope=f"invented {number}")
            await harness.ledger.decide(reservation(NOON, one, tokens=1, alert_at=(100,)))

    harness.run(deny())
    assert len(alerts_of(harness)) == MAX_UNSPENT_SCOPES
    ask(harness, 100, one=DAILY._replace(scope="a real one"))
    assert alerts_of(harness)[MAX_UNSPENT_SCOPES:] == [50, 80, 100]


def test_the_alerts_of_a_total_are_raised_once_and_have_no_end(harness: LedgerHarness) -> None:
    """A1: ten years later they are still known."""
    one = limit(100, window=Window.TOTAL)
    ask(harness, 60, one=one)
    ask(harness, 1, NOON + 3650 * DAY, one)
    harness.run(harness.ledger.prune(NOON + 3650 * DAY, DAY))
    ask(harness, 1, NOON + 3651 * DAY, one)
    (delivery,) = harness.ledger.due("log", NOON + 3651 * DAY, 9)  # type: ignore[attr-defined]
    assert delivery.alert.document()["window_end"] is None
    assert delivery.alert.text().endswith("0 tokens spent, 60 tokens held, never renewed")


def test_unlimited_and_no_thresholds_raise_no_alert(harness: LedgerHarness) -> None:
    """There is nothing to reach."""
    ask(harness, 10**6, one=limit(None))
    ask(harness, 100, alert_at=())
    assert alerts_of(harness) == []


def test_a_limit_in_shadow_mode_raises_alerts_that_say_so(harness: LedgerHarness) -> None:
    """Alerts are how people watch a shadow limit."""
    ask(harness, 170, shadow=True)
    assert alerts_of(harness, columns="percent, shadow") == [(50, 1), (80, 1), (100, 1)]


def test_previews_and_replays_raise_no_alert(harness: LedgerHarness) -> None:
    """A dry run changes nothing, and a replay's alert was raised before."""
    one = reservation(NOON, DAILY, tokens=60, alert_at=USUAL, request_id="r")
    harness.ledger.preview(one)
    assert alerts_of(harness) == []
    harness.run(harness.ledger.decide(one))
    harness.run(harness.ledger.decide(replace(one, lines=())))
    assert alerts_of(harness) == [50]


def test_a_sliding_minute_raises_one_alert_per_clock_minute(harness: LedgerHarness) -> None:
    """A1: it has no fixed window; two full minutes are two alerts."""
    one = limit(100, window=Window.MINUTE)
    for seconds in (0, 1, 30, 61):
        ask(harness, 60, NOON + seconds * SECOND_US, one, alert_at=(100,))
    minutes = [(at - NOON) // SECOND_US for at in alerts_of(harness, columns="window_start_us")]
    assert minutes == [0]
    ask(harness, 60, NOON + 62 * SECOND_US, one, alert_at=(100,))
    assert len(alerts_of(harness)) == 2


def test_a_concurrent_limit_raises_one_alert_per_hour(harness: LedgerHarness) -> None:
    """A1: a limit of open holds has no window, either."""
    one = limit(2, Meter.REQUESTS, Window.CONCURRENT)
    for at_us in (NOON, NOON, NOON, NOON + HOUR):
        ask(harness, 1, at_us, one, alert_at=(100,), ttl_us=DAY)
    assert alerts_of(harness, columns="window_start_us") == [NOON, NOON + HOUR]


def test_overruns_and_expired_holds_raise_one_alert_per_workspace_and_hour(
    harness: LedgerHarness,
) -> None:
    """A1: the first of the hour, with what was held and what became of it."""
    for at_us in (NOON, NOON, NOON + HOUR):
        ask(harness, 10, at_us, ttl_us=SECOND_US)
        harness.run(harness.ledger.settle(ask(harness, 10, at_us).hold_id, settlement(at_us, 12)))
        harness.run(harness.ledger.expire(at_us + 2 * SECOND_US))
    for kind, spent in ((AlertKind.OVERRUN, 12_000), (AlertKind.EXPIRED, 10_000)):
        found = alerts_of(harness, kind, "scope, window_start_us, spent, held, meter")
        rest = ("lab", spent, 10_000, "cost")
        assert [(a[0], *a[2:]) for a in found] == [rest, rest]
        assert [a[1] for a in found] == [NOON, NOON + HOUR]


def test_a_usage_of_many_times_its_hold_raises_an_alert_by_its_order_of_magnitude(
    harness: LedgerHarness,
) -> None:
    """Also after a small overrun of the hour: 10 times the hold, 100 times, and each once."""
    for tokens, expected in (
        (11, [0]), (99, [0]), (100, [0, 1000]), (500, [0, 1000]), (9_999, [0, 1000, 10_000]),
        (10**6, [0, 1000, 10_000, 10**5, 10**6, 10**7]),
    ):  # fmt: skip
        hold_id = ask(harness, 10, one=limit(None)).hold_id
        harness.run(harness.ledger.settle(hold_id, settlement(NOON, tokens)))
        assert alerts_of(harness, "overrun") == expected
    last = harness.ledger.due("log", NOON, 99)[-1].alert  # type: ignore[attr-defined]
    assert "used $1.00" in last.text()
    assert "was held for it, 100000 times as much or more" in last.text()


def test_a_refused_usage_raises_one_alert_per_workspace_and_hour(harness: LedgerHarness) -> None:
    """A1: nothing is charged, and the hold stays open."""
    hold_id = ask(harness, 10).hold_id
    for at_us in (NOON, NOON, NOON + HOUR):
        refused = replace(settlement(at_us, 9_000), refused=True)
        harness.run(harness.ledger.settle(hold_id, refused))
    found = alerts_of(harness, AlertKind.USAGE_REFUSED, "scope, spent, held, meter, percent")
    assert found == [("lab", 9_000_000, 10_000, "cost", 0)] * 2
    assert harness.ledger.hold(hold_id).state is HoldState.OPEN
    assert alerts_of(harness, "overrun") == []


def test_a_settle_within_the_hold_is_no_overrun(harness: LedgerHarness) -> None:
    """A repeated Settle of an overrun raises no second alert."""
    harness.run(harness.ledger.settle(ask(harness, 10).hold_id, settlement(NOON, 10)))
    hold = ask(harness, 10).hold_id
    assert alerts_of(harness, "overrun") == []
    for hours in (0, 2):
        harness.run(harness.ledger.settle(hold, settlement(NOON + hours * HOUR, 11)))
    assert len(alerts_of(harness, "overrun")) == 1


# -- Burn -----------------------------------------------------------------------

HOURLY = limit(10**12, Meter.COST, Window.HOUR, scope="all")


def spend(harness: LedgerHarness, at_us: int, tokens: int, one: Limit = HOURLY) -> None:
    """Spend so many tokens, at 1000 nano-USD each."""
    hold = ask(harness, tokens, at_us, one).hold_id
    harness.run(harness.ledger.settle(hold, settlement(at_us, tokens)))


def burns(harness: LedgerHarness, at_us: int) -> list[Any]:
    """Check the burn rate twice, and return the new alerts."""
    for _ in range(2):
        harness.run(harness.ledger.burn(at_us))
    return alerts_of(harness, "burn", "scope, spent, usual")


@pytest.mark.parametrize(("tokens", "expected"), [(300, []), (301, [("all", 301_000, 100_000)])])
def test_more_than_three_times_the_usual_spend_an_hour_raises_a_burn_alert(
    tokens: int, expected: list[Any], harness: LedgerHarness
) -> None:
    """Not at exactly three times; once, also after a restart."""
    for hour in range(6):
        spend(harness, NOON + hour * HOUR, 50 + 20 * hour)
    assert burns(harness, NOON + 6 * HOUR) == []
    spend(harness, NOON + 6 * HOUR, tokens)
    assert burns(harness, NOON + 6 * HOUR) == expected
    harness.reopen()
    assert burns(harness, NOON + 6 * HOUR) == expected


def test_a_burn_alert_counts_what_its_group_is_charged(harness: LedgerHarness) -> None:
    """Settlements that wait beside the search are on the budget that it reads."""
    for hour in range(6):
        spend(harness, NOON + hour * HOUR, 100)
    at_us = NOON + 6 * HOUR
    holds = [ask(harness, tokens, at_us, HOURLY).hold_id for tokens in (200, 101)]
    settled = [
        harness.ledger.settle(hold, settlement(at_us, tokens))
        for hold, tokens in zip(holds, (200, 101), strict=True)
    ]
    harness.together(*settled, harness.ledger.burn(at_us))
    assert alerts_of(harness, "burn", "scope, spent, usual") == [("all", 301_000, 100_000)]


def test_a_burn_rate_needs_six_hours_of_the_last_24(harness: LedgerHarness) -> None:
    """Earlier hours, other budgets, and hours without spend do not count."""
    for hour in (0, 20, 21, 22, 23, 24):
        spend(harness, NOON + hour * HOUR, 10)
    harness.run(
        harness.ledger.release(ask(harness, 10, NOON + 25 * HOUR, HOURLY).hold_id, "", NOON)
    )
    spend(harness, NOON + 19 * HOUR, 10, limit(None, Meter.COST, Window.HOUR, scope="other"))
    spend(harness, NOON + 26 * HOUR, 1000)
    assert burns(harness, NOON + 26 * HOUR) == []


def test_limits_by_day_or_of_tokens_have_no_burn_alerts(harness: LedgerHarness) -> None:
    """Only cost per hour is watched."""
    for one in (limit(10**12, Meter.COST), limit(10**9, Meter.TOKENS, Window.HOUR)):
        for hour in range(7):
            spend(harness, NOON + (hour - 12) * HOUR, 10 ** (hour // 6 + 1), one)
    assert burns(harness, NOON - 6 * HOUR) == []


# -- In the file ----------------------------------------------------------------


def test_the_view_for_people_has_each_alert_with_its_deliveries(harness: LedgerHarness) -> None:
    """As text and JSON."""
    ask(harness, 50)
    columns = "raised_at_utc, kind, rule, percent, deliveries"
    (row,) = (
        ledger_file.open_reader(harness.path).execute(f"SELECT {columns} FROM alert_log").fetchall()
    )
    assert row[:4] == ("2026-11-11 12:00:00", "threshold", "tokens-day", 50)
    assert json.loads(row[4]) == [
        {"channel": "log", "attempts": 0, "delivered_at_utc": None, "last_error": ""}
    ]


def test_verify_finds_an_alert_without_deliveries(harness: LedgerHarness) -> None:
    """A2: `verify` notices a delivery that is gone."""
    ask(harness, 50)
    copy: Any = ledger_file.open_reader(harness.path)
    target = sqlite3.connect(":memory:", isolation_level=None)
    copy.backup(target)
    target.execute("DELETE FROM alert_deliveries")
    assert [finding.promise for finding in verify(target)[0]] == ["A2 an alert has no delivery"]
