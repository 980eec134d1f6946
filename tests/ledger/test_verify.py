"""L2: `sidecar ledger verify` finds what a bug, or an edit by hand, has done to a file."""

from pathlib import Path
from typing import Any

import pytest
from ledger.conftest import LedgerHarness
from support.reservations import limit, reservation, settlement

from sidecar.domain.decisions import Meter, Reason
from sidecar.domain.windows import DAY_US, Window
from sidecar.ledger import ledger_file
from sidecar.ledger.sqlite import SqliteLedger
from sidecar.ledger.verify import verify

HELD = "L2 a budget's held is not the sum of its open holds"
SPENT = "L2 a budget's spent is not its opening balance, closed holds and adjustments"
OPENING = "L2 an opening balance is not what pruning recorded"
ALTERED = "the decision log was altered"
COST = "L2 a hold's cost is not what its budgets were charged"
TWICE = "L3 two decisions have the same id"
LOST = "L3 an allowed decision has no hold, or a denied one has"
CHARGED = "L5 an open hold has a charge, or a released one"
UNKNOWN = "L2 an expired hold's cost is not what its budgets were charged"
EXPIRED = "L5 an expired hold is not charged as its limits say"
NEGATIVE = "L7 an amount is negative"
COUNT = "L2 a budget has another number of holds than it counts"
FOREIGN = "L3 an id is not that of its row"
DAMAGED = "the file is damaged"
GONE = "a row points to one that is gone"
UNPRICED = "L7 a hold has a cost and no price"

DAMAGE = [
    (HELD, "UPDATE budgets SET held = held - 1"),
    (HELD, "UPDATE budgets SET held = held + 1"),
    (SPENT, "UPDATE budgets SET spent = spent - 1"),
    (SPENT, "UPDATE budgets SET spent = spent + 1"),
    (COST, "UPDATE holds SET charged_cost_nano_usd = 1 WHERE state = 'settled'"),
    (COST, "UPDATE holds SET charged_output_tokens = 1 WHERE state = 'settled'"),
    (LOST, "DELETE FROM holds WHERE state = 'open'"),
    (LOST, "UPDATE decisions SET effect = 'deny'"),
    (
        TWICE,
        "UPDATE decisions SET request_id = (SELECT request_id FROM denials) WHERE id = 1",
    ),
    (FOREIGN, "UPDATE denials SET decision_id = (SELECT decision_id FROM decisions LIMIT 1)"),
    (TWICE, "UPDATE denials SET id = 1"),
    (CHARGED, "UPDATE holds SET charged_cost_nano_usd = 1 WHERE state = 'open'"),
    (CHARGED, "UPDATE holds SET charged_cost_nano_usd = 1 WHERE state = 'released'"),
    (UNKNOWN, "UPDATE holds SET charged_cost_nano_usd = 1 WHERE state = 'expired'"),
    (UNKNOWN, "UPDATE holds SET charged_cost_nano_usd = 0 WHERE state = 'expired'"),
    (
        UNKNOWN,
        "UPDATE holds SET charged_cost_nano_usd = 1"
        " WHERE state = 'expired' AND charged_cost_nano_usd = 0",
    ),
    (EXPIRED, "UPDATE holds SET amounts = json_replace(amounts, '$[0][2]', 0)"),
    (COUNT, "UPDATE budgets SET holds = holds + 1"),
    (COUNT, "UPDATE budgets SET holds = holds - 1"),
    (FOREIGN, "UPDATE holds SET hold_id = (SELECT hold_id FROM holds WHERE id = 1) WHERE id = 2"),
    (FOREIGN, "UPDATE decisions SET decision_id = replace(decision_id, '_2-', '_3-') WHERE id = 2"),
    (TWICE, "UPDATE decisions SET decision_id = 'dec_1' WHERE id < 3"),
    (DAMAGED, "UPDATE holds SET amounts = '[[1,' WHERE id = 2"),
    (GONE, "DELETE FROM budgets WHERE id = 1"),
    (NEGATIVE, "UPDATE budgets SET held = -1"),
    (NEGATIVE, "UPDATE budgets SET spent = -1"),
    (NEGATIVE, "UPDATE holds SET held_cost_nano_usd = -1"),
    (UNPRICED, "UPDATE holds SET price = NULL"),
    (GONE, "DELETE FROM prices"),
    (
        DAMAGED,
        "UPDATE sqlite_schema SET sql = replace(sql, '''open''', '''shut''') WHERE name = 'holds_open'",
    ),
]


@pytest.mark.parametrize(("promise", "damage"), DAMAGE, ids=[sql for _, sql in DAMAGE])
def test_each_kind_of_damage_is_found_and_named(promise: str, damage: str, tmp_path: Path) -> None:
    """L2: a ledger with holds of every kind is clean, and is not after one wrong write."""
    harness = LedgerHarness(SqliteLedger, tmp_path / "ledger.sqlite")
    limits = (limit(1000), limit(10**9, Meter.COST))
    _, settled, released = (
        harness.run(harness.ledger.decide(reservation(1, *limits))).hold_id for _ in range(3)
    )
    harness.run(harness.ledger.settle(settled, settlement(1, 30)))
    harness.run(harness.ledger.release(released, "not sent", 1))
    harness.run(harness.ledger.decide(reservation(1, *limits, tokens=1001, request_id="no")))
    harness.run(harness.ledger.decide(reservation(1, *limits, ttl_us=1)))
    harness.run(harness.ledger.decide(reservation(1, limits[1], ttl_us=1, charge_on_expiry=False)))
    harness.run(harness.ledger.expire(2))
    assert harness.findings() == []
    ledger: Any = harness.ledger
    connection = ledger._commits._connection  # noqa: SLF001 - damage that only the writer can do
    connection.execute("PRAGMA foreign_keys = OFF")
    connection.execute("PRAGMA writable_schema = ON")
    connection.execute(damage)
    assert promise in {finding.promise for finding in harness.findings()}
    harness.close()


TAMPERING = [
    (OPENING, "UPDATE budgets SET opening = opening - 1, spent = spent - 1 WHERE opening > 0"),
    (OPENING, "UPDATE budgets SET opening = 7, spent = spent + 7 WHERE opening IS NULL"),
    (OPENING, "UPDATE budgets SET scope = 'other' WHERE opening > 0"),
    (OPENING, "DELETE FROM budgets WHERE opening > 0 AND held = 0"),
    (OPENING, "DELETE FROM prunings"),
    (SPENT, "UPDATE budgets SET opening = opening - 1 WHERE opening > 0"),
    (NEGATIVE, "UPDATE budgets SET opening = -1"),
    (ALTERED, "DELETE FROM prunings"),
    (ALTERED, "DELETE FROM prunings WHERE id = (SELECT max(id) FROM prunings)"),
    (ALTERED, "DELETE FROM prunings WHERE id = (SELECT max(id) FROM prunings) - 1"),
    (ALTERED, "UPDATE prunings SET openings = zeroblob(32)"),
    (ALTERED, "UPDATE prunings SET pruned = pruned + 1"),
    (ALTERED, "UPDATE prunings SET follows = follows + 1"),
]


@pytest.mark.parametrize(("promise", "damage"), TAMPERING, ids=[sql for _, sql in TAMPERING])
def test_an_opening_balance_cannot_be_altered_or_invented(
    promise: str, damage: str, tmp_path: Path
) -> None:
    """L2: the chain of decisions proves what pruning has folded, also after later decisions."""
    harness = LedgerHarness(SqliteLedger, tmp_path / "ledger.sqlite")
    limits = (limit(1000, window=Window.TOTAL), limit(1000, window=Window.YEAR))
    for day in range(10):
        at_us = day * DAY_US + 1
        hold = harness.run(harness.ledger.decide(reservation(at_us, *limits))).hold_id
        harness.run(harness.ledger.settle(hold, settlement(at_us, 30)))
        harness.run(harness.ledger.prune(at_us, 3 * DAY_US))
    harness.run(harness.ledger.decide(reservation(10 * DAY_US, limit(1000))))
    assert harness.findings() == []
    ledger: Any = harness.ledger
    connection = ledger._commits._connection  # noqa: SLF001 - damage that only the writer can do
    connection.execute("PRAGMA foreign_keys = OFF")
    assert connection.execute(damage).rowcount > 0
    assert promise in {finding.promise for finding in harness.findings()}
    harness.close()


def test_a_ledger_in_use_is_verified_as_it_was_at_one_moment(tmp_path: Path) -> None:
    """L2: pruning during a verification is not taken for an alteration."""
    harness = LedgerHarness(SqliteLedger, tmp_path / "ledger.sqlite")
    for n in range(3):
        harness.run(
            harness.ledger.decide(reservation(n + 1, reasons=(Reason("NO", "no", "", 403),)))
        )
    reader = ledger_file.open_reader(harness.path)

    def prune(statement: str) -> None:
        if "d.chain" in statement:  # what was pruned before has been read by now
            reader.set_trace_callback(None)
            assert harness.run(harness.ledger.prune(10, 1)) == 2

    reader.set_trace_callback(prune)
    found, _ = verify(reader)
    reader.close()
    harness.close()
    assert found == []
