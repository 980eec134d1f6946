"""The charge of a call, with policies, prices and a moving clock."""

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
from mistral_spend.v1 import authorization_pb2 as pb
from support.authorizer_harness import NOON, AuthorizerHarness
from support.policies import limit, minimal
from support.sidecar_process import chat, tester

from sidecar.domain.clock import to_datetime
from sidecar.domain.usage import UsageReport
from sidecar.domain.usage_json import parse_usage_json
from sidecar.policy import policy_set

OpenHarness = Callable[..., AuthorizerHarness]

TOMORROW = to_datetime(NOON) + timedelta(days=1)
PRICES = f"""
    prices:
      - {{effective_from: 2020-01-01, input_usd_per_million_tokens: 1, output_usd_per_million_tokens: 1}}
      - {{effective_from: {TOMORROW.isoformat()}, input_usd_per_million_tokens: 3, output_usd_per_million_tokens: 3}}
"""
MODELS = f"models:\n  small-1:\n    family: small{PRICES}  large-1:\n    family: large{PRICES}"


@pytest.mark.parametrize("response_model", ["", "small-1", "large-1"])
def test_l7_a_hold_is_charged_at_the_price_when_it_was_made(
    response_model: str, open_harness: OpenHarness, tmp_path: Path
) -> None:
    """L7: for any model that answered and any time of settlement."""
    harness = open_harness(minimal(tmp_path / "p", models_yaml=MODELS))
    report, day_seconds = UsageReport(10, 20), 86_400
    costs = []
    for _ in range(2):
        decision = harness.authorize(chat(tester(), model="small-1", hold_ttl_seconds=day_seconds))
        harness.wait(day_seconds)
        charge = harness.run(
            harness.authorizer.settle(decision.hold_id, report, response_model, "ok")
        )
        costs.append((decision.held_cost_nano_usd, charge.cost_nano_usd))
    assert costs == [(200_000, 30_000), (600_000, 90_000)]


@pytest.mark.parametrize(("on_expiry", "spent"), [("charge", 200), ("release", 0)])
def test_l5_on_expiry_of_a_rule_decides_how_expired_holds_are_charged(
    on_expiry: str, spent: int, open_harness: OpenHarness, tmp_path: Path
) -> None:
    """L5: a limit's `on_expiry` is what the ledger does with its holds."""
    rule = limit("1000", meter="tokens", extra=f"// on_expiry: {on_expiry}\n")
    harness = open_harness(minimal(tmp_path / "p", daily=rule))
    harness.authorize(chat(tester(), model="small-1", hold_ttl_seconds=1))
    harness.wait(1)
    assert harness.run(harness.ledger.expire(harness.now_us)) == 1
    (budget,), _ = harness.authorizer.budgets(pb.Principal(role="tester", workspace="lab"), "")
    assert (budget.spent, budget.held) == (spent, 0)


def test_a_response_that_repeats_the_alias_is_not_another_model(
    open_harness: OpenHarness, tmp_path: Path
) -> None:
    """The requested name does not say which model answered; the id of another model does."""
    dear = """
    prices:
      - {effective_from: 2020-01-01, input_usd_per_million_tokens: 9, output_usd_per_million_tokens: 9}
"""
    models = f"models:\n  small-1:\n    family: small\n    ALIASES{PRICES}  dear-1:\n    family: dear{dear}"
    alias = "aliases: [newest]"
    harness = open_harness(minimal(tmp_path / "p", models_yaml=models.replace("ALIASES", alias)))
    holds = [harness.authorize(chat(tester(), model="newest")).hold_id for _ in range(3)]
    moved = models.replace("    ALIASES\n", "") + f"    {alias}\n"
    harness.authorizer.policy = policy_set.load(minimal(tmp_path / "q", models_yaml=moved))
    report = UsageReport(10, 20)
    charges = [
        harness.run(harness.authorizer.settle(hold_id, report, served, "ok")).cost_nano_usd
        for hold_id, served in zip(holds, ("newest", "small-1", "dear-1"), strict=True)
    ]
    assert charges == [30_000, 30_000, 270_000]


def test_l3_the_flag_of_an_unrecognized_usage_is_kept_with_its_hold(
    open_harness: OpenHarness, tmp_path: Path
) -> None:
    """L3: a second Settle returns the flag of the first, with any usage of its own."""
    harness = open_harness(minimal(tmp_path / "p"))
    unknown, known = parse_usage_json('{"weight": 3}'), UsageReport(10, 20)
    for reports, expected in (((unknown, known), True), ((known, unknown), False)):
        hold_id = harness.authorize(chat(tester(), model="small-1")).hold_id
        charges = [
            harness.run(harness.authorizer.settle(hold_id, report, "", "ok")) for report in reports
        ]
        assert [charge.unrecognized_usage for charge in charges] == [expected, expected]
        assert [charge.cost_nano_usd for charge in charges] == 2 * [200_000 if expected else 30_000]
