"""The chain over the decision log: `verify` finds what was altered, taken out or put in."""

import sqlite3
from pathlib import Path

import pytest
from ledger.conftest import LedgerHarness
from sqlite_utils import Database
from support.reservations import limit, reservation, settlement

from sidecar.domain.clock import SECOND_US
from sidecar.domain.decisions import Meter, Reason
from sidecar.ledger import chain, ledger_file, schema
from sidecar.ledger.verify import verify

NOON = 1_794_398_400 * SECOND_US
DAY = 86_400 * SECOND_US
DAILY = limit(10_000)
DENIED = (Reason("NO", "no", "some-rule", 403),)


def busy(harness: LedgerHarness) -> None:
    """A ledger with decisions, denials, settlements and an adjustment."""
    for number in range(6):
        denied = DENIED if number == 3 else ()
        one = reservation(NOON + number, DAILY, limit(10**12, Meter.COST), reasons=denied)
        hold = harness.run(harness.ledger.decide(one)).hold_id
        if hold and number % 2:
            harness.run(harness.ledger.settle(hold, settlement(NOON + number, 50)))
    for amount in (5, -5):
        harness.run(harness.ledger.adjust("tokens-day", "lab", amount, "ada", "a test", NOON + 10))


def release_one(harness: LedgerHarness, at_us: int) -> None:
    """Allow a call that is then not sent."""
    hold = harness.run(harness.ledger.decide(reservation(at_us, DAILY))).hold_id
    harness.run(harness.ledger.release(hold, "not sent", at_us))


def copy(harness: LedgerHarness) -> sqlite3.Connection:
    """A copy of the ledger, to be altered."""
    target = sqlite3.connect(":memory:", isolation_level=None)
    ledger_file.open_reader(harness.path).backup(target)
    return target


def altered(connection: sqlite3.Connection) -> list[str]:
    """Return what verify says of the log."""
    findings, _ = verify(connection)
    return [f.place for f in findings if f.promise == "the decision log was altered"]


TAMPERING = [
    ("a column of a decision", "UPDATE decisions SET principal = 'bob' WHERE id = 2", 1),
    ("an amount that was answered", "UPDATE decisions SET budgets = '[]' WHERE id = 2", 1),
    ("what a hold reserved", "UPDATE holds SET held_cost_nano_usd = 1 WHERE id = 2", 1),
    ("a unit that it did not have", "UPDATE holds SET held_characters = 1 WHERE id = 2", 1),
    ("tools that it did not have", "UPDATE holds SET held_tool_calls = '{}' WHERE id = 2", 1),
    ("when a hold expires", "UPDATE holds SET expires_at_us = 1 WHERE id = 2", 1),
    ("an amount of a hold",
     "UPDATE holds SET amounts = json_replace(amounts, '$[0][1]', 1) WHERE id = 2", 1),
    ("an amount that is no integer",
     "UPDATE holds SET amounts = json_replace(amounts, '$[0][3]', 50.0) WHERE id = 2", 1),
    ("two amounts that changed places",
     "UPDATE holds SET amounts = json_array(amounts -> 1, amounts -> 0) WHERE id = 2", 1),
    ("an amount that is gone",
     "UPDATE holds SET amounts = json_remove(amounts, '$[1]') WHERE id = 2", 1),
    ("amounts in another form", "UPDATE holds SET amounts = '{}' WHERE id = 2", 1),
    ("a decision that is gone", "DELETE FROM decisions WHERE id = 3", 1),
    ("the first that is gone", "DELETE FROM decisions WHERE id = 1", 1),
    ("two that changed places",
     "UPDATE decisions SET id = 40 WHERE id = 3; UPDATE decisions SET id = 3 WHERE id = 5;"
     "UPDATE decisions SET id = 5 WHERE id = 40", 3),
    ("a link", "UPDATE decisions SET chain = zeroblob(32) WHERE id = 2", 2),
    ("an adjustment", "UPDATE adjustments SET amount = -500 WHERE id = 1", 1),
    ("who signed", "UPDATE adjustments SET signed_by = 'eve' WHERE id = 2", 1),
    ("an adjustment that is gone", "DELETE FROM adjustments WHERE id = 1", 1),
]  # fmt: skip


@pytest.mark.parametrize(
    ("sql", "times"), [t[1:] for t in TAMPERING], ids=[t[0] for t in TAMPERING]
)
def test_what_was_altered_is_found(sql: str, times: int, harness: LedgerHarness) -> None:
    """An altered row, and one after a missing row; each is named once."""
    busy(harness)
    connection = copy(harness)
    assert altered(connection) == []
    connection.execute("PRAGMA foreign_keys = OFF")
    connection.executescript(sql)
    assert len(altered(connection)) == times


def test_a_noted_head_reveals_a_log_that_was_cut_off(harness: LedgerHarness) -> None:
    """The chain alone does not show it; a copy of its head does."""
    busy(harness)
    connection = copy(harness)
    kept = chain.head(connection)
    assert chain.has_link(connection, kept)
    connection.execute("DELETE FROM holds WHERE id = 6")
    connection.execute("DELETE FROM decisions WHERE id = 6")
    assert altered(connection) == []
    assert not chain.has_link(connection, kept)


def test_the_chain_is_intact_after_pruning(harness: LedgerHarness) -> None:
    """The last pruned link is kept, and the chain continues from it."""
    for day in range(10):
        hold = harness.run(harness.ledger.decide(reservation(NOON + day * DAY, DAILY))).hold_id
        harness.run(harness.ledger.settle(hold, settlement(NOON + day * DAY, 5)))
    kept = chain.head(ledger_file.open_reader(harness.path))
    gone = harness.run(harness.ledger.prune(NOON + 9 * DAY, 3 * DAY))
    connection = copy(harness)
    assert connection.execute("SELECT min(id) FROM decisions").fetchone() == (gone + 1,)
    assert altered(connection) == []
    assert chain.has_link(connection, kept)
    connection.execute("DELETE FROM prunings")
    assert len(altered(connection)) == 1
    harness.run(harness.ledger.decide(reservation(NOON + 10 * DAY, DAILY)))  # and it goes on


def test_a_pruning_is_a_link_of_the_chain(harness: LedgerHarness) -> None:
    """A head that was kept before or after a pruning is in the chain for as long as it lasts."""
    kept = []
    for day in range(6):
        release_one(harness, NOON + day * DAY)
        kept.append(chain.head(copy(harness)))
        harness.run(harness.ledger.prune(NOON + day * DAY, 2 * DAY))
        kept.append(chain.head(copy(harness)))
    assert len(set(kept)) == 6 + 3  # three prunings had something to delete
    connection = copy(harness)
    assert altered(connection) == []
    assert [chain.has_link(connection, link) for link in kept[-6:]] == [True] * 6
    harness.reopen()
    harness.run(harness.ledger.decide(reservation(NOON + 6 * DAY, DAILY)))
    assert altered(copy(harness)) == []


def test_pruning_stops_at_the_first_decision_that_must_stay(harness: LedgerHarness) -> None:
    """A chain has no gaps: an old hold that is open keeps what came after it."""
    harness.run(harness.ledger.decide(reservation(NOON, DAILY, ttl_us=100 * DAY)))
    for day in range(1, 5):
        release_one(harness, NOON + day * DAY)
    assert harness.run(harness.ledger.prune(NOON + 60 * DAY, DAY)) == 0


def test_a_rolled_back_group_leaves_no_link(harness: LedgerHarness) -> None:
    """A decision that fails for a reason of its own takes its link with it."""
    busy(harness)
    answers = harness.together(
        harness.ledger.decide(reservation(NOON + 20, DAILY)),
        harness.ledger.decide(reservation(NOON + 20, DAILY, model_requested="\ud800")),
        harness.ledger.decide(reservation(NOON + 20, DAILY)),
    )
    assert [isinstance(answer, Exception) for answer in answers] == [False, True, False]
    assert altered(copy(harness)) == []


def test_a_ledger_from_before_the_chain_is_chained_when_it_is_opened(
    harness: LedgerHarness, tmp_path: Path
) -> None:
    """An older file is upgraded, and adds up."""
    harness.run(harness.ledger.decide(reservation(NOON, DAILY)))
    harness.run(harness.ledger.decide(reservation(NOON + 1, DAILY)))
    source = copy(harness)
    old = sqlite3.connect(tmp_path / "old.sqlite", isolation_level=None)
    old.execute(f"PRAGMA application_id = {schema.APPLICATION_ID}")
    schema.migrations.apply(Database(old), stop_before="0002_chain_and_adjustments")
    for table in ("policy_sets", "prices", "decisions", "holds", "budgets", "hold_amounts"):
        names = [row[1] for row in old.execute(f"PRAGMA table_info({table})")]
        for row in source.execute(f"SELECT {', '.join(names)} FROM {table}"):
            old.execute(f"INSERT INTO {table} VALUES ({','.join('?' * len(names))})", row)
    old.close()
    ledger_file.open_writer(tmp_path / "old.sqlite").close()
    upgraded = sqlite3.connect(tmp_path / "old.sqlite")
    findings, counts = verify(upgraded)
    assert (findings, counts["decisions"]) == ([], 2)
    assert chain.head(upgraded) == chain.head(source)
