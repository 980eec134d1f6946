"""Calls with an unknown outcome: spend is what budgets were charged, the rest is shown apart."""

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
from support.commands import sidecar
from support.older_ledger import make_older
from support.operator_ledger import HOUR, MINUTE, NOON, OperatorLedger, operator_ledger
from support.reservations import limit, reservation

from sidecar.domain.decisions import Limit, Meter
from sidecar.domain.spend_report import Dimension, Spend
from sidecar.domain.windows import Span, Window
from sidecar.ledger import ledger_file
from sidecar.ledger.verify import verify

MONTH = limit(10**9, Meter.COST, Window.MONTH, rule="monthly")
DAY = limit(10**9, Meter.COST, Window.DAY, rule="daily")
TOKENS = limit(10**9, Meter.TOKENS, Window.DAY, rule="tokens")
REQUESTS = limit(10**9, Meter.REQUESTS, Window.DAY, rule="requests")
AT_ONCE = limit(10**9, Meter.COST, Window.CONCURRENT, rule="at-once")
TODAY = Span(NOON - HOUR, NOON)


@pytest.fixture
def kept(tmp_path: Path) -> Iterator[OperatorLedger]:
    """A ledger to fill, which is verified at the end."""
    with operator_ledger(tmp_path / "ledger.sqlite") as opened:
        yield opened
        with closing(ledger_file.open_reader(opened.path)) as reader:
            assert verify(reader)[0] == []


def expired(kept: OperatorLedger, charge: tuple[Limit, ...], release: tuple[Limit, ...]) -> str:
    """Let a call of 9,000 tokens expire that some limits charge and some release."""
    request = reservation(NOON - HOUR, *charge, *release, tokens=9000, ttl_us=MINUTE)
    lines = (one._replace(charge_on_expiry=one.limit in charge) for one in request.lines)
    decision = kept.decide(replace(request, lines=tuple(lines)))
    kept.expire(NOON)
    return decision.hold_id


def total(kept: OperatorLedger) -> Spend:
    """Return the total of a report."""
    return kept.reports().report((), TODAY).total


@pytest.mark.parametrize(
    ("charge", "release", "cost", "tokens", "unknown"),
    [
        ((), (MONTH,), 0, 0, 9_000_000),
        ((MONTH,), (), 9_000_000, 9000, 0),
        # One limit of cost that charges is enough: the sum is what that was charged.
        ((MONTH,), (DAY,), 9_000_000, 9000, 0),
        ((), (MONTH, DAY, TOKENS, REQUESTS), 0, 0, 9_000_000),
        # Each meter has its own sum.
        ((TOKENS,), (MONTH,), 0, 9000, 9_000_000),
        ((MONTH,), (TOKENS,), 9_000_000, 0, 0),
        ((REQUESTS,), (MONTH,), 0, 0, 9_000_000),
        # No limit counts its cost, so none releases it.
        ((), (), 9_000_000, 9000, 0),
        ((), (REQUESTS,), 9_000_000, 9000, 0),
        ((), (TOKENS,), 9_000_000, 0, 0),
        ((), (AT_ONCE,), 9_000_000, 9000, 0),
        ((AT_ONCE,), (MONTH,), 0, 0, 9_000_000),
    ],
)
def test_spend_is_what_budgets_were_charged(
    kept: OperatorLedger,
    charge: tuple[Limit, ...],
    release: tuple[Limit, ...],
    cost: int,
    tokens: int,
    unknown: int,
) -> None:
    """L5: what all limits with a meter release is in no sum; a late Settle brings it back."""
    hold = expired(kept, charge, release)
    found = total(kept)
    assert (found.calls, found.expired) == (1, 1)
    assert (found.cost_nano_usd, found.output_tokens) == (cost, tokens)
    assert (found.unknown_cost_nano_usd, sum(found.daily_cost_nano_usd)) == (unknown, cost)
    kept.settle(hold, NOON, tokens=10)
    found = total(kept)
    assert (found.cost_nano_usd, found.output_tokens) == (10_000, 10)
    assert (found.unknown_cost_nano_usd, found.expired) == (0, 0)


def test_by_rule_each_limit_shows_what_it_was_charged(kept: OperatorLedger) -> None:
    """L5: of a call that one limit charges and one releases, each has its own figures."""
    expired(kept, (MONTH,), (DAY, TOKENS))
    rows = {
        row.names[0]: (row.cost_nano_usd, row.output_tokens, row.unknown_cost_nano_usd)
        for row in kept.reports().report((Dimension.RULE,), TODAY).rows
    }
    assert rows == {
        "monthly": (9_000_000, 0, 0),
        "daily": (0, 0, 9_000_000),
        "tokens": (9_000_000, 0, 0),
    }


def test_every_reader_of_spend_shows_the_same_sum(kept: OperatorLedger, tmp_path: Path) -> None:
    """Table, JSON, page, view and export: $0 as in the budget, and the unknown outcome."""
    expired(kept, (), (MONTH,))
    kept.spend(NOON, DAY, tokens=1)
    page = tmp_path / "spend.html"
    command = ("spend", "--ledger", kept.path, "--html", page)
    code, out, _ = sidecar(*command)
    assert (code, "unknown outcome" in out, "$0.009" in out, "$0.000001" in out) == (0, *[True] * 3)
    assert "$0.009001" not in out
    text = page.read_text()
    assert ">unknown outcome</th>" in text
    assert "of unknown outcome, charged to no budget" in text
    assert "$0.009001" not in text
    _, out, _ = sidecar("spend", "--ledger", kept.path, "--format", "json")
    report = json.loads(out)
    for sums in (report["total"], *report["rows"]):
        assert (sums["cost_nano_usd"], sums["unknown_cost_nano_usd"]) == (1000, 9_000_000)
    assert {one["rule"]: one["spent"] for one in report["budgets"]} == {"monthly": 0, "daily": 1000}
    name = "spend_by_team_model_day"
    _, out, _ = sidecar("ledger", "export", name, "--ledger", kept.path, "--format", "json")
    (row,) = json.loads(out)
    assert (row["calls"], row["cost_usd"], row["unknown_outcome_usd"]) == (
        2, "$0.000001000", "$0.009000000",
    )  # fmt: skip


def test_without_unknown_outcomes_the_table_has_no_column_for_them(kept: OperatorLedger) -> None:
    """Most ledgers release nothing that expires."""
    expired(kept, (MONTH,), ())
    code, out, _ = sidecar("spend", "--ledger", kept.path)
    assert (code, "unknown outcome" in out, "$0.009" in out) == (0, False, True)


@pytest.mark.parametrize(
    ("charge", "release", "cost", "tokens"),
    [
        ((), (MONTH,), 0, 0),
        ((TOKENS,), (MONTH,), 0, 9000),
        ((MONTH,), (TOKENS,), 9_000_000, 0),
        ((MONTH,), (DAY,), 9_000_000, 9000),
        ((), (REQUESTS,), 9_000_000, 9000),
    ],
)
def test_an_older_ledger_is_corrected_when_it_is_opened(
    tmp_path: Path, charge: tuple[Limit, ...], release: tuple[Limit, ...], cost: int, tokens: int
) -> None:
    """L5: older versions recorded the full cost of expired holds, although budgets were not charged."""
    path = tmp_path / "ledger.sqlite"
    with operator_ledger(path) as kept:
        expired(kept, charge, release)
    make_older(path, before="0009_unknown_outcomes_and_shares")
    with closing(sqlite3.connect(path)) as old, old:
        old.execute(
            "UPDATE holds SET charged_output_tokens = 9000, charged_cost_nano_usd = 9000000"
        )
    with operator_ledger(path) as kept:
        found = total(kept)
    assert (found.cost_nano_usd, found.output_tokens) == (cost, tokens)
    with closing(ledger_file.open_reader(path)) as reader:
        assert verify(reader)[0] == []
