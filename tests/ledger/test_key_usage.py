"""The use of keys is counted from decisions, and outlives them."""

import asyncio
import sqlite3
from collections.abc import Iterable
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    rule,
    run_state_machine_as_test,
)
from ledger.conftest import LedgerHarness
from support.operator_ledger import NOON
from support.reservations import limit, reservation

from sidecar.domain.clock import SECOND_US
from sidecar.domain.decisions import Reason
from sidecar.ledger import key_usage
from sidecar.ledger.key_reports import read_keys
from sidecar.ledger.key_store import KeyStore
from sidecar.ledger.protocol import (
    MAX_USES_PER_TRANSACTION,
    LedgerRefusedError,
    LedgerUnavailableError,
)
from sidecar.ledger.sqlite import SqliteLedger
from sidecar.runtime import maintenance

DAY = 86_400 * SECOND_US
NO = (Reason("NO", "no", "", 403),)

Uses = dict[tuple[str, str, bool], tuple[int, int, int]]
"""First use, last use and number, by key, model and whether they were allowed."""


def decide(
    harness: LedgerHarness, key_id: str, at_us: int, *, denied: bool = False, **call: Any
) -> None:
    """Decide one call with a key."""
    changes = {"key_id": key_id, "reasons": NO if denied else (), **call}
    harness.run(harness.ledger.decide(reservation(at_us, **changes)))


def track(harness: LedgerHarness, *key_ids: str, at_us: int = NOON) -> None:
    """Register keys."""
    harness.run(harness.ledger.track(key_ids, at_us))  # type: ignore[attr-defined]


def count(harness: LedgerHarness) -> int:
    """Count some."""
    return int(harness.run(harness.ledger.count_usage()))  # type: ignore[attr-defined]


def uses(path: Path) -> Uses:
    """Return the uses that a reader in another process gets."""
    return {
        (str(use.name), use.model, use.allowed): (use.first_us, use.last_us, use.decisions)
        for use in read_keys(path, 0).uses
    }


def by_hand(path: Path, keys: Iterable[str]) -> Uses:
    """Count the decisions of keys without versions, independently of the ledger's SQL."""
    found: Uses = {}
    with sqlite3.connect(path) as connection:
        rows = connection.execute("SELECT key_id, model, effect, decided_at_us FROM all_decisions")
        for key_id, model, effect, at_us in rows:
            key = key_id.split("#")[0]
            if key in keys:
                name = (key, model, effect == "allow")
                first, last, number = found.get(name, (at_us, at_us, 0))
                found[name] = (min(first, at_us), max(last, at_us), number + 1)
    connection.close()
    return found


def rows(path: Path, table: str) -> int:
    """Count the rows of a table."""
    with sqlite3.connect(path) as connection:
        (number,) = connection.execute(f"SELECT count(*) FROM {table}").fetchone()
    connection.close()
    return int(number)


def key_store(harness: LedgerHarness) -> KeyStore:
    """Open the key store of the ledger."""
    return KeyStore(harness.path, lambda: NOON, "test", SECOND_US)


def test_a_use_is_visible_at_once_and_after_counting(harness: LedgerHarness) -> None:
    """Whether it was summed up yet or not makes no difference to a reader."""
    track(harness, "KEY")
    decide(harness, "KEY", NOON)
    decide(harness, "KEY", NOON + 5)
    decide(harness, "KEY", NOON + 7, denied=True)
    expected = {
        ("KEY", "small-1", True): (NOON, NOON + 5, 2),
        ("KEY", "small-1", False): (NOON + 7, NOON + 7, 1),
    }
    assert uses(harness.path) == expected
    assert (count(harness), count(harness)) == (3, 0)
    assert uses(harness.path) == expected
    decide(harness, "KEY", NOON + 9)
    assert uses(harness.path)["KEY", "small-1", True] == (NOON, NOON + 9, 3)


def test_unknown_keys_and_versions_take_no_rows(harness: LedgerHarness) -> None:
    """Rows are for registered keys, and for versions that a rotation made."""
    track(harness, "KEY")
    for number in range(300):
        decide(harness, f"made-up-{number}", NOON + number)
        decide(harness, f"KEY#{number}", NOON + number)
        decide(harness, f"KEY##{number}", NOON + number)
    for text in ("KEY#", "KEY#999999999999", f"KEY#{2**64}", "KEY'--", "", "KEY#1 OR 1"):
        decide(harness, text, NOON + 300)
    while count(harness):
        pass
    assert rows(harness.path, "key_usage_counted") == 1
    assert list(uses(harness.path).values()) == [(NOON, NOON + 300, 604)]
    assert harness.ledger._key_usage._tracked == {"KEY"}  # type: ignore[attr-defined] # noqa: SLF001


def test_each_version_that_there_is_has_its_own_use(harness: LedgerHarness) -> None:
    """What the app says is compared with the versions that rotations made, to the letter."""
    track(harness, "KEY", "KEY2")
    versions = key_store(harness)
    versions.adopt("KEY", 1, "KEY", "id-1", None)
    versions.adopt("KEY", 2, "KEY-v2", "id-2", None)
    for number, key_id in enumerate(
        ("KEY#1", "KEY#2", "KEY#2", "KEY", "KEY#3", "KEY#02", "KEY2#2")
    ):
        decide(harness, key_id, NOON + number)
    expected = {"KEY#1": 1, "KEY#2": 2, "KEY": 3, "KEY2": 1}
    assert expected == {name: number for (name, _, _), (_, _, number) in uses(harness.path).items()}
    count(harness)
    assert expected == {name: number for (name, _, _), (_, _, number) in uses(harness.path).items()}
    (second,) = (one for one in versions.versions("KEY") if one.version == 2)
    assert versions.uses(second) == (NOON + 1, NOON + 2)  # as a rotation asks
    versions.close()


def test_the_versions_that_are_revoked_are_known_at_once(harness: LedgerHarness) -> None:
    """Also when another process revoked them."""
    versions = key_store(harness)
    versions.adopt("KEY", 1, "KEY", "id-1", None)
    assert harness.ledger.revoked_versions() == frozenset()  # type: ignore[attr-defined]
    versions.adopt("KEY", 2, "KEY-v2", "id-2", None)
    assert harness.ledger.revoked_versions() == {"KEY#1"}  # type: ignore[attr-defined]
    versions.close()


def test_key_usage_has_the_time_since_when_it_is_counted(harness: LedgerHarness) -> None:
    """It begins with the first decision that is not counted yet: for a new ledger that is now."""
    track(harness, "first", at_us=NOON)
    decide(harness, "first", NOON + 1)
    decide(harness, "later", NOON + 2)
    track(harness, "later", at_us=NOON + 3)
    while count(harness):
        pass
    track(harness, "first", "last", at_us=NOON + 4)
    assert read_keys(harness.path, 0).since_us == {
        "first": NOON, "later": NOON + 1, "last": NOON + 4,
    }  # fmt: skip
    assert by_hand(harness.path, ["first", "later", "last"]) == uses(harness.path)


def test_decisions_from_before_key_usage_are_counted(harness: LedgerHarness) -> None:
    """A ledger of an older version has a history."""
    for number in range(5):
        decide(harness, "KEY", NOON + number)
    track(harness, "KEY", at_us=NOON + 10)
    assert read_keys(harness.path, 0).since_us == {"KEY": NOON}
    assert uses(harness.path) == by_hand(harness.path, ["KEY"])


@pytest.mark.parametrize("counted", [0, 1, 700, 1000, 1001, 1300])
def test_no_decision_is_pruned_before_its_key_is_counted(
    harness: LedgerHarness, counted: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """U1: at any progress of the counting, a use outlives its decision."""
    track(harness, "KEY")
    tokens = limit(10**9)
    reservations = [reservation(NOON + n, tokens, key_id="KEY", ttl_us=1) for n in range(1300)]
    harness.together(*(harness.ledger.decide(one) for one in reservations))
    while harness.run(harness.ledger.expire(NOON + SECOND_US)):
        pass
    decide(harness, "", NOON + 90 * DAY)  # the latest one always stays
    with monkeypatch.context() as patch:
        patch.setattr(key_usage, "MAX_USES_PER_TRANSACTION", counted)
        count(harness)
    while harness.run(harness.ledger.prune(NOON + 90 * DAY, DAY)):
        pass
    assert rows(harness.path, "decisions") == 1
    assert uses(harness.path) == {("KEY", "small-1", True): (NOON, NOON + 1299, 1300)}


def test_a_clock_that_jumps_moves_no_use_back(harness: LedgerHarness) -> None:
    """L9: uses have the ledger's time, which stands still until the clock has caught up."""
    track(harness, "KEY")
    decide(harness, "KEY", NOON)
    count(harness)
    decide(harness, "KEY", NOON - DAY)
    count(harness)
    decide(harness, "KEY", NOON + 365 * DAY)
    decide(harness, "KEY", NOON + 1)
    assert uses(harness.path) == {("KEY", "small-1", True): (NOON, NOON + 365 * DAY, 4)}


def test_a_group_that_fails_forgets_no_key(harness: LedgerHarness) -> None:
    """What was registered in a transaction that is gone is registered again."""
    ledger: Any = harness.ledger

    def fail() -> None:
        raise ZeroDivisionError

    failing = ledger._commits.run(fail)  # noqa: SLF001
    registered, failed = harness.together(ledger.track(["KEY"], NOON), failing)
    assert (registered, type(failed)) == (None, LedgerUnavailableError)
    assert read_keys(harness.path, 0).since_us == {"KEY": NOON}


def test_key_usage_of_a_ledger_that_was_not_upgraded_is_unknown(tmp_path: Path) -> None:
    """A reader changes nothing, so it says what to do."""
    path = tmp_path / "old.sqlite"
    ledger = SqliteLedger(path)
    LedgerHarness.run(harness := LedgerHarness(SqliteLedger, tmp_path / "x.sqlite"), ledger.close())
    harness.close()
    with sqlite3.connect(path) as connection:
        connection.execute("DELETE FROM _sqlite_migrations WHERE name = '0005_key_usage'")
    connection.close()
    with pytest.raises(LedgerRefusedError, match="written by an older version"):
        read_keys(path, 0)


class KeyUsageMachine(RuleBasedStateMachine):
    """A ledger, and a simple model of the uses of two keys."""

    folders: pytest.TempPathFactory

    def __init__(self) -> None:
        """Begin with a new ledger."""
        super().__init__()
        few = partial(SqliteLedger, max_denials=2)
        self.harness = LedgerHarness(few, self.folders.mktemp("machine") / "ledger.sqlite")
        self.now_us = NOON
        self.decided: list[tuple[int, str, str, bool]] = []
        self.since: dict[str, tuple[int, int]] = {}

    @property
    def counted(self) -> int:
        """The last decision that was summed up: what is dropped or pruned has to be."""
        with sqlite3.connect(self.harness.path) as connection:
            (decision,) = connection.execute("SELECT decision FROM key_usage_until").fetchone()
        connection.close()
        return int(decision)

    @rule(
        key_id=st.sampled_from(["KEY", "OTHER", "KEY#1", "KEY#", "made-up", ""]),
        denied=st.booleans(),
        model=st.sampled_from(["small-1", "large-1", ""]),
        later_us=st.sampled_from([0, 1, DAY, 40 * DAY]),
    )
    def decide(self, key_id: str, model: str, later_us: int, *, denied: bool) -> None:
        """Decide a call, perhaps days later."""
        self.now_us += later_us
        decide(self.harness, key_id, self.now_us, denied=denied, model_id=model)
        self.decided.append((self.now_us, key_id.split("#", maxsplit=1)[0], model, not denied))

    @rule(key=st.sampled_from(["KEY", "OTHER"]))
    def register(self, key: str) -> None:
        """Track a key from the first decision that is not counted yet."""
        track(self.harness, key, at_us=self.now_us)
        times = [at_us for at_us, *_ in self.decided[self.counted :]] or [self.now_us]
        self.since.setdefault(key, (self.counted, times[0]))

    @rule()
    def count(self) -> None:
        """Sum up."""
        count(self.harness)
        assert self.counted == len(self.decided)

    @rule(days=st.sampled_from([1, 30]))
    def prune(self, days: int) -> None:
        """Expire and forget."""
        while self.harness.run(self.harness.ledger.expire(self.now_us)):
            pass
        while self.harness.run(self.harness.ledger.prune(self.now_us, days * DAY)):
            pass

    @rule()
    def restart(self) -> None:
        """Open the file again."""
        self.harness.reopen()

    @invariant()
    def uses_are_those_of_the_model(self) -> None:
        """Compare all that a reader gets with the model."""
        expected: Uses = {}
        for number, (at_us, key, model, allowed) in enumerate(self.decided):
            if key in self.since and number >= self.since[key][0]:
                first, _, calls = expected.get((key, model, allowed), (at_us, at_us, 0))
                expected[key, model, allowed] = (first, at_us, calls + 1)
        assert uses(self.harness.path) == expected
        since_us = {key: since_us for key, (_, since_us) in self.since.items()}
        assert read_keys(self.harness.path, 0).since_us == since_us

    def teardown(self) -> None:
        """Close it."""
        self.harness.close()


@pytest.mark.property
def test_uses_match_a_simple_model(tmp_path_factory: pytest.TempPathFactory) -> None:
    """U1: for any order of decisions, counting, dropping, pruning, restarts and new keys."""
    KeyUsageMachine.folders = tmp_path_factory
    run_state_machine_as_test(
        KeyUsageMachine, settings=settings(max_examples=25, stateful_step_count=25)
    )


def test_under_load_uses_are_counted_now_and_then(monkeypatch: pytest.MonkeyPatch) -> None:
    """U1: a few calls that come meanwhile wait for the next time; only a backlog does not."""
    counted, waits = iter([MAX_USES_PER_TRANSACTION, 7, 7, 7]), 0

    class Backlog:
        policy = SimpleNamespace(catalogue=SimpleNamespace(keys=()))

        def revoked_versions(self) -> frozenset[str]:
            return frozenset()

        async def track(self, *_: object) -> None:
            pass

        async def keys_in_use(self, _: int) -> int:
            return 0

        async def count_usage(self) -> int:
            return next(counted)

    async def no_time(_: float) -> None:
        nonlocal waits
        waits += 1
        if waits > 3:
            raise EOFError

    monkeypatch.setattr("sidecar.runtime.maintenance.asyncio.sleep", no_time)
    keeping = maintenance.run_key_maintenance(
        cast("Any", Backlog()), cast("Any", Backlog()), lambda: 0
    )
    with pytest.raises(EOFError):
        asyncio.run(keeping)
    assert list(counted) == []  # two at the first time, then one each
