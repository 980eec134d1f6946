"""L7: whatever is reported, sums stay within int64, and every later request gets an answer."""

import tempfile
from collections.abc import Sequence
from contextlib import ExitStack, closing
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ledger.conftest import LedgerHarness
from support.reservations import limit, reservation, settlement

from sidecar.domain.amounts import AMOUNT_LIMIT, MAX_USED, fits
from sidecar.domain.clock import SECOND_US
from sidecar.domain.decisions import Decision, Meter
from sidecar.domain.prices import MAX_BOUND_NANO_USD, MAX_COST_NANO_USD
from sidecar.domain.spend_report import Dimension
from sidecar.domain.windows import Window
from sidecar.ledger import ledger_file
from sidecar.ledger.reports import Reports
from sidecar.ledger.sqlite import SqliteLedger
from sidecar.ledger.verify import verify

NOON = 1_794_398_400 * SECOND_US
INT64_MAX = 2**63 - 1

windows = st.sampled_from([Window.MINUTE, Window.HOUR, Window.DAY, Window.TOTAL])
"""A sliding minute has a row for each second; the others have one or two."""
costs = st.lists(
    st.sampled_from([0, 1, MAX_BOUND_NANO_USD, AMOUNT_LIMIT // 10, MAX_COST_NANO_USD]),
    min_size=1,
    max_size=12,
)


@settings(max_examples=10, deadline=None)
@given(windows, costs, st.sampled_from([None, AMOUNT_LIMIT - 1]))
def test_l7_no_sequence_of_settlements_passes_int64(
    window: Window, each: Sequence[int], ceiling: int | None
) -> None:
    """L1, L2, L7: sums stop at a bound, above every ceiling; all later calls are decided."""
    one = limit(ceiling, Meter.COST, window)
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        harness = LedgerHarness(SqliteLedger, Path(folder) / "l.sqlite")
        stack.callback(harness.close)
        for number, cost in enumerate([*each] * 4):
            at_us = NOON + number % 50 * SECOND_US
            decision = harness.run(harness.ledger.decide(reservation(at_us, one, tokens=1)))
            if decision.hold_id:
                used = settlement(at_us, 1, cost_nano_usd=cost)
                harness.run(harness.ledger.settle(decision.hold_id, used))
            (budget,) = harness.ledger.budgets([one], at_us)
            assert 0 <= budget.spent + budget.held <= INT64_MAX
        with closing(ledger_file.open_reader(harness.path)) as reader:
            assert verify(reader)[0] == []


def test_l7_spend_of_more_than_int64_is_reported(harness: LedgerHarness) -> None:
    """Without a limit of cost, each call keeps its cost, and their sum is shown as far as it goes."""
    for _ in range(100):
        held = harness.run(harness.ledger.decide(reservation(NOON, limit(None), tokens=1)))
        used = settlement(NOON, 1, cost_nano_usd=MAX_COST_NANO_USD)
        harness.run(harness.ledger.settle(held.hold_id, used))
    with closing(ledger_file.open_reader(harness.path)) as reader:
        report = Reports(reader, NOON)
        (row,) = report.spend([Dimension.WORKSPACE], [report.calendar.span(Window.DAY, NOON)])
    assert row.cost_nano_usd == 2**62


def test_l7_calls_are_refused_before_what_is_held_passes_int64() -> None:
    """Also on a limit without a ceiling: its budget is at most MAX_USED."""
    assert fits(None, MAX_USED - 1, 1)
    assert not fits(None, MAX_USED, 1)
    assert fits(None, MAX_USED, 0)


@pytest.mark.parametrize("window", [Window.DAY, Window.MINUTE])
def test_l1_a_budget_whose_sums_are_saturated_stays_closed(
    window: Window, harness: LedgerHarness
) -> None:
    """L1: the bound of a row is above every ceiling of its window that a policy has."""
    one = limit(AMOUNT_LIMIT // 10, Meter.COST, window)
    held: Decision = harness.run(harness.ledger.decide(reservation(NOON, one, tokens=1)))
    others = [harness.run(harness.ledger.decide(reservation(NOON, one, tokens=1))) for _ in "12"]
    for hold in (held, *others):
        used = settlement(NOON, 1, cost_nano_usd=MAX_COST_NANO_USD)
        harness.run(harness.ledger.settle(hold.hold_id, used))
    assert not harness.run(harness.ledger.decide(reservation(NOON, one, tokens=1))).hold_id
