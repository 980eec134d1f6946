"""The windows and anchors of rules, from a header to the response."""

from collections.abc import Callable
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from mistral_spend.v1 import authorization_pb2 as pb
from support.authorizer_harness import NOON, AuthorizerHarness, codes
from support.policies import deny, limit, minimal
from support.sidecar_process import chat, tester

from sidecar.authorization.explain import Explainer
from sidecar.cli.budget_table import budget_table
from sidecar.contract.responses import authorize_response
from sidecar.domain.clock import to_datetime
from sidecar.domain.windows import DAY_US
from sidecar.policy import policy_set

Open = Callable[..., AuthorizerHarness]


def ask(harness: AuthorizerHarness) -> pb.AuthorizeResponse:
    """Ask for a call of one hundred tokens in and out."""
    return authorize_response(harness.authorize(chat(tester(), model="small-1")))


def bounds(budget: pb.Budget) -> list[str]:
    """Return when a budget's window begins and ends, to the hour in UTC."""
    return [f"{at.ToDatetime():%a %Y-%m-%d %H}" for at in (budget.window_start, budget.window_end)]


@pytest.mark.parametrize(
    ("window", "extra", "zone", "expected"),
    [
        ("week", "", "UTC", ["Mon 2026-11-09 00", "Mon 2026-11-16 00"]),
        ("week", "// starts_on: sunday\n", "UTC", ["Sun 2026-11-08 00", "Sun 2026-11-15 00"]),
        (
            "week",
            "// starts_on: tuesday\n// starts_at: 14:00\n",
            "Europe/Paris",
            ["Tue 2026-11-03 13", "Tue 2026-11-10 13"],
        ),
        ("day", "// starts_at: 06:00\n", "UTC", ["Tue 2026-11-10 06", "Wed 2026-11-11 06"]),
        ("month", "// starts_on: 15\n", "UTC", ["Thu 2026-10-15 00", "Sun 2026-11-15 00"]),
        ("quarter", "", "UTC", ["Thu 2026-10-01 00", "Fri 2027-01-01 00"]),
        ("year", "// starts_on: 11\n", "UTC", ["Sun 2026-01-11 00", "Mon 2027-01-11 00"]),
    ],
)
def test_a_window_begins_where_the_header_says(
    window: str, extra: str, zone: str, expected: list[str], open_harness: Open, tmp_path: Path
) -> None:
    """L6: on a Tuesday at noon, in the sidecar's time zone."""
    rules = minimal(tmp_path / "p", one=limit("1", window=window, extra=extra))
    harness = open_harness(rules, zone=ZoneInfo(zone))
    (budget,) = ask(harness).budgets
    assert bounds(budget) == expected
    refused = ask(harness)
    assert codes(harness.authorize(chat(tester(), model="small-1"))) == ["TOO_MUCH"]
    ends_us = harness.now_us + refused.retry_after.ToMicroseconds()
    assert f"{to_datetime(ends_us):%a %Y-%m-%d %H}" == expected[1]
    harness.now_us = ends_us
    assert ask(harness).hold_id


def test_a_total_is_never_renewed(open_harness: Open, tmp_path: Path) -> None:
    """L1: there is no time to retry after, and the message and the tables say why."""
    rules = minimal(tmp_path / "p", trial=limit("300", meter="tokens", window="total"))
    harness = open_harness(rules)
    (budget,) = ask(harness).budgets
    assert (budget.HasField("window_start"), budget.HasField("window_end")) == (True, False)
    harness.now_us += 3000 * DAY_US
    refused = ask(harness)
    assert not refused.HasField("retry_after")
    (reason,) = refused.reasons
    assert reason.message.endswith("(requested 200 tokens, 100 left of 300, never renewed)")
    (until,) = list(budget_table(refused.budgets).columns[-1].cells)
    assert str(until) == "never"
    explained = harness.run(Explainer(harness.authorizer).explain(chat(tester(), model="small-1")))
    assert not [way for way in explained.suggestions if way.startswith("wait")]


def test_a_call_that_fits_a_total_when_others_end_waits_for_no_time(
    open_harness: Open, tmp_path: Path
) -> None:
    """L1: where an hour refuses, too, its end helps no one."""
    hour = limit("1", window="hour")
    rules = minimal(tmp_path / "p", hour=hour, trial=limit("1", window="total"))
    harness = open_harness(rules)
    ask(harness)
    refused = ask(harness)
    assert [reason.rule for reason in refused.reasons] == ["hour", "trial"]
    assert not refused.HasField("retry_after")


def test_a_changed_anchor_counts_what_has_not_ended(open_harness: Open, tmp_path: Path) -> None:
    """L1: after a reload, the month that the old header began still takes room, until it ends."""
    harness = open_harness(minimal(tmp_path / "p", one=limit("2", window="month")))
    ask(harness)
    changed = limit("2", window="month", extra="// starts_on: 8\n")
    rules = minimal(tmp_path / "q", one=changed)
    harness.authorizer.policy = policy_set.load(rules, "cel-cpp")
    (second,) = ask(harness).budgets
    assert (second.held, bounds(second)[0]) == (2, "Sun 2026-11-08 00")
    assert not ask(harness).hold_id
    harness.now_us = NOON + 21 * DAY_US  # 1 December: the old month has ended
    assert ask(harness).hold_id
    assert not ask(harness).hold_id


def test_rules_read_the_spend_of_a_long_window(open_harness: Open, tmp_path: Path) -> None:
    """`spend` has the current window of the header's anchor."""
    week = limit("4", window="week", extra="// starts_on: wednesday\n")
    rules = minimal(tmp_path / "p", week=week, half=deny('spend["week"].fraction >= 0.5'))
    harness = open_harness(rules)
    assert [bool(ask(harness).hold_id) for _ in range(3)] == [True, True, False]
    harness.now_us += DAY_US  # a Wednesday
    assert ask(harness).hold_id
