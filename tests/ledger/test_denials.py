"""Denials: the latest are kept, with a chain of their own, and take nothing from allowed calls."""

import itertools
import sqlite3
import tempfile
from collections import deque
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    MultipleResults,
    RuleBasedStateMachine,
    invariant,
    multiple,
    precondition,
    rule,
    run_state_machine_as_test,
)
from ledger.conftest import LedgerHarness
from support.reservations import limit, reservation, settlement

from sidecar.domain.clock import SECOND_US, to_us
from sidecar.domain.decisions import (
    Decision,
    DenialCounts,
    Meter,
    Reason,
    ReservationRequest,
)
from sidecar.domain.windows import DAY_US, Window
from sidecar.ledger import chain, denials, ledger_file
from sidecar.ledger.protocol import HoldUnknownError, RequestIdReusedError
from sidecar.ledger.sqlite import SqliteLedger
from sidecar.ledger.time_correction import correct_time
from sidecar.ledger.verify import verify

START = to_us(datetime(2026, 11, 10, 12, tzinfo=UTC))
NO = (Reason("NO", "no", "some-rule", 403),)
LIMITS = (limit(1000), limit(5, Meter.REQUESTS, Window.MINUTE), limit(10**7, Meter.COST))
HOUR_US = 3600 * SECOND_US
FEW = 3


def few_denials(path: Path, max_denials: int = FEW) -> LedgerHarness:
    """Open a ledger that keeps few denials."""
    return LedgerHarness(partial(SqliteLedger, max_denials=max_denials), path)


def deny(harness: LedgerHarness, at_us: int, number: int) -> Decision:
    """Deny a call; its request id is the number."""
    one = reservation(at_us, limit(1000), request_id=str(number), reasons=NO)
    return harness.run(harness.ledger.decide(one))


def counts(harness: LedgerHarness) -> DenialCounts:
    """Return how many denials the ledger keeps, and has dropped."""
    found: DenialCounts = harness.ledger.denial_counts()  # type: ignore[attr-defined]
    return found


def read(path: Path, query: str) -> list[Any]:
    """Read the file by hand."""
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute(query).fetchall()


def kept(path: Path) -> list[str]:
    """Return the request ids of the denials that are kept, the oldest first."""
    found = read(path, "SELECT request_id FROM decision_log WHERE effect = 'deny'")
    return [request_id for (request_id,) in found]


Holds = MultipleResults[tuple[str, str]] | tuple[str, str]


class DenialsMachine(RuleBasedStateMachine):
    """A ledger that keeps few denials, beside one that gets its allowed calls alone."""

    holds: Bundle[tuple[str, str]] = Bundle("holds")
    """The ids of a call's hold in both ledgers."""

    def __init__(self) -> None:
        """Open both."""
        super().__init__()
        self._folder = tempfile.TemporaryDirectory()
        folder = Path(self._folder.name)
        self._both = few_denials(folder / "both.sqlite")
        self._allowed = LedgerHarness(SqliteLedger, folder / "allowed.sqlite")
        self._now_us = START
        self._numbers = itertools.count(1)
        self._denied: dict[str, tuple[ReservationRequest, Decision]] = {}
        """The last decision on each request that was denied."""
        self._kept: deque[tuple[str, int]] = deque()
        self._dropped = 0

    def teardown(self) -> None:
        """L2: both pass verification."""
        found = [*self._both.findings(), *self._allowed.findings()]
        self._both.close()
        self._allowed.close()
        self._folder.cleanup()
        assert found == []

    @rule(target=holds, tokens=st.integers(1, 400), by_rule=st.booleans())
    def call(self, tokens: int, *, by_rule: bool) -> Holds:
        """Decide a call, which a rule may deny, or a limit."""
        reasons, name = NO if by_rule else (), f"call-{next(self._numbers)}"
        return self._decide(
            reservation(self._now_us, *LIMITS, tokens=tokens, reasons=reasons, request_id=name)
        )

    @rule(target=holds, data=st.data())
    @precondition(lambda self: self._denied)
    def repeat(self, data: st.DataObject) -> Holds:
        """L3: repeat a denied call. As long as it is kept, so is its decision."""
        request_id = data.draw(st.sampled_from(sorted(self._denied)))
        request, first = self._denied[request_id]
        request = replace(request, at_us=self._now_us)
        if request_id not in dict(self._kept):
            return self._decide(request)
        assert self._both.run(self._both.ledger.decide(request)) == replace(first, replayed=True)
        return multiple()

    def _decide(self, request: ReservationRequest) -> Holds:
        decision = self._both.run(self._both.ledger.decide(request))
        assert not decision.replayed
        if decision.hold_id:
            other = self._allowed.run(self._allowed.ledger.decide(request))
            assert decision == replace(
                other, decision_id=decision.decision_id, hold_id=decision.hold_id
            )
            self._denied.pop(decision.request_id, None)
            return decision.hold_id, other.hold_id
        self._denied[decision.request_id] = request, decision
        self._kept.append((decision.request_id, self._now_us))
        if len(self._kept) > FEW:
            self._kept.popleft()
            self._dropped += 1
        return multiple()

    @rule(hold_ids=holds, tokens=st.integers(0, 500))
    def settle(self, hold_ids: tuple[str, str], tokens: int) -> None:
        """Settle an allowed call, unless it is pruned."""
        found = [
            one.together(one.ledger.settle(hold_id, settlement(self._now_us, tokens)))[0]
            for one, hold_id in zip((self._both, self._allowed), hold_ids, strict=True)
        ]
        assert found[0] == found[1] or {type(one) for one in found} == {HoldUnknownError}

    @rule()
    def expire(self) -> None:
        """Charge the holds that were not settled in time."""
        for one in (self._both, self._allowed):
            one.run(one.ledger.expire(self._now_us))

    @rule(seconds=st.sampled_from([0.1, 61, 3600]))
    def wait(self, seconds: float) -> None:
        """Let time pass."""
        self._now_us += int(seconds * SECOND_US)

    @rule()
    def prune(self) -> None:
        """Prune what is older than an hour; the latest denial stays."""
        for one in (self._both, self._allowed):
            one.run(one.ledger.prune(self._now_us, HOUR_US))
        while len(self._kept) > 1 and self._kept[0][1] < self._now_us - HOUR_US:
            self._kept.popleft()

    @rule()
    def restart(self) -> None:
        """Open the file again."""
        self._both.reopen()

    @invariant()
    def the_latest_denials_are_kept(self) -> None:
        """D1: in their order, and the number of those that made room is exact."""
        assert kept(self._both.path) == [request_id for request_id, _ in self._kept]
        assert counts(self._both) == (len(self._kept), self._dropped)

    @invariant()
    def allowed_calls_are_as_without_denials(self) -> None:
        """D1: not a row, an amount or a budget differs."""
        for query in (
            "SELECT request_id, decided_at_us, budgets FROM decisions ORDER BY id",
            "SELECT request_id, state, expires_at_us, closed_at_us, held_cost_nano_usd,"
            " charged_cost_nano_usd, amounts FROM holds JOIN decisions USING (id) ORDER BY id",
            "SELECT * FROM budgets ORDER BY id",
        ):
            assert read(self._both.path, query) == read(self._allowed.path, query)


@pytest.mark.property
def test_denials_take_nothing_from_allowed_calls() -> None:
    """D1, L3: for any order of allowed and denied calls, repeats, prunings and restarts."""
    run_state_machine_as_test(
        DenialsMachine, settings=settings(max_examples=15, stateful_step_count=30)
    )


def test_a_denial_is_repeated_for_as_long_as_it_is_kept(tmp_path: Path) -> None:
    """L3: with other content it is refused; once newer ones took its room, it is a new request."""
    harness = few_denials(tmp_path / "ledger.sqlite")
    first = deny(harness, START, 1)
    for number in (2, 3):
        deny(harness, START, number)
    harness.reopen()
    assert deny(harness, START, 1) == replace(first, replayed=True)
    other = reservation(START, limit(1000), request_id="1", fingerprint=b"other")
    with pytest.raises(RequestIdReusedError):
        harness.run(harness.ledger.decide(other))
    deny(harness, START, 4)
    allowed = harness.run(harness.ledger.decide(other))
    assert (allowed.hold_id != "", allowed.replayed) == (True, False)
    assert kept(harness.path) == ["2", "3", "4"]
    assert harness.findings() == []
    harness.close()


def test_a_lower_bound_is_reached_in_steps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """D1: no denial waits for the deletion of many; the number of dropped ones is exact throughout."""
    monkeypatch.setattr(denials, "MAX_DELETED", 4)
    harness = few_denials(tmp_path / "ledger.sqlite", 10)
    for number in range(10):
        deny(harness, START, number)
    harness.close()
    harness = few_denials(harness.path)
    found = []
    for number in range(10, 14):
        deny(harness, START, number)
        found.append(counts(harness))
    assert found == [(7, 4), (4, 8), (3, 10), (3, 11)]
    assert kept(harness.path) == ["11", "12", "13"]
    assert harness.findings() == []
    harness.close()


def test_many_denials_leave_some_at_a_time(tmp_path: Path) -> None:
    """D1: the bound holds for a group of calls, too, which are in one transaction."""
    harness = few_denials(tmp_path / "ledger.sqlite", 2000)
    ones = [reservation(START, reasons=NO, request_id=str(number)) for number in range(2050)]
    harness.together(*(harness.ledger.decide(one) for one in ones))
    assert counts(harness) == (2000, 50)
    deny(harness, START, 2050)
    assert counts(harness) == (1999, 52)
    assert kept(harness.path)[0] == "52"
    assert harness.findings() == []
    harness.close()


def test_old_denials_are_pruned_but_the_latest(harness: LedgerHarness) -> None:
    """L9: that keeps the ledger's time. What was pruned is not counted as dropped."""
    for number in range(5):
        deny(harness, START + number * DAY_US, number)
    hold = harness.run(harness.ledger.decide(reservation(START, limit(1000), ttl_us=1))).hold_id
    assert harness.run(harness.ledger.prune(START + 4 * DAY_US, 2 * DAY_US)) == 2
    assert (kept(harness.path), counts(harness)) == (["2", "3", "4"], (3, 0))
    assert harness.run(harness.ledger.prune(START + 90 * DAY_US, DAY_US)) == 2
    harness.reopen()
    assert harness.run(harness.ledger.prune(START + 90 * DAY_US, DAY_US)) == 0
    assert (kept(harness.path), counts(harness)) == (["4"], (1, 0))
    assert harness.ledger.hold(hold)  # which is open


def test_a_restart_remembers_the_time_of_a_denial(harness: LedgerHarness) -> None:
    """L9: a denial moves the ledger's time, as every decision does."""
    deny(harness, START + DAY_US, 1)
    harness.reopen()
    assert harness.ledger.latest_us == START + DAY_US  # type: ignore[attr-defined]


def test_a_denial_that_was_rolled_back_leaves_nothing(tmp_path: Path) -> None:
    """L4: neither a link, a number nor a gap, whatever its group has dropped."""
    harness = few_denials(tmp_path / "ledger.sqlite", 2)
    for number in range(3):
        deny(harness, START, number)

    def fail() -> None:
        raise sqlite3.OperationalError

    ledger: Any = harness.ledger
    ones = [reservation(START, reasons=NO, request_id=f"lost-{number}") for number in range(3)]
    harness.together(*map(ledger.decide, ones), ledger._commits.run(fail))  # noqa: SLF001
    assert (kept(harness.path), counts(harness)) == (["1", "2"], (2, 1))
    deny(harness, START, 4)
    assert (kept(harness.path), counts(harness)) == (["2", "4"], (2, 2))
    assert harness.findings() == []
    harness.close()


def test_the_decision_log_has_one_order(harness: LedgerHarness) -> None:
    """It is that of the decisions, allowed or denied, also while the ledger's time stands still."""
    for number in range(6):
        if number % 3:
            deny(harness, START, number)
        else:
            one = reservation(START, limit(1000), request_id=str(number))
            harness.run(harness.ledger.decide(one))
    found = read(harness.path, "SELECT request_id, effect FROM decision_log")
    effects = ["allow", "deny", "deny"] * 2
    assert found == [(str(number), effect) for number, effect in enumerate(effects)]


def test_a_denial_that_a_correction_of_the_time_follows_can_be_dropped(tmp_path: Path) -> None:
    """L9: the time stays corrected, and what was denied by the wrong clock is pruned like others."""
    harness = few_denials(tmp_path / "ledger.sqlite")
    harness.run(harness.ledger.decide(reservation(START + 365 * DAY_US, limit(1000))))
    for number in (0, 1):
        deny(harness, START + 365 * DAY_US, number)
    signed = ("ada@example.com", "the clock was wrong")
    assert harness.offline(lambda path: correct_time(path, START, *signed, lambda _: None))
    assert harness.ledger.latest_us == START  # type: ignore[attr-defined]
    deny(harness, START, 2)
    assert harness.run(harness.ledger.prune(START + 2 * DAY_US, DAY_US)) == 2
    assert (kept(harness.path), harness.findings()) == (["2"], [])
    for number in (3, 4, 5):
        deny(harness, START + 2 * DAY_US, number)
    assert (kept(harness.path), harness.findings()) == (["3", "4", "5"], [])
    harness.close()


@pytest.fixture
def altered(tmp_path: Path) -> Iterator[sqlite3.Connection]:
    """A ledger with denials, of which some were dropped, to be altered."""
    harness = few_denials(tmp_path / "ledger.sqlite")
    for number in range(5):
        deny(harness, START + number, number)
    harness.close()
    with closing(sqlite3.connect(harness.path, isolation_level=None)) as connection:
        assert breaks(connection) == 0
        yield connection


def breaks(connection: sqlite3.Connection) -> int:
    """Count what verify says of the log."""
    findings, _ = verify(connection)
    return sum(one.promise == "the decision log was altered" for one in findings)


@pytest.mark.parametrize("number", [3, 4, 5])
def test_an_altered_denial_is_found(altered: sqlite3.Connection, number: int) -> None:
    """D1: each column of each denial is covered by its link."""
    columns = altered.execute("SELECT name, type FROM pragma_table_info('denials')").fetchall()
    assert {name for name, _ in columns} == {*chain.DENIAL_COLUMNS, "chain"}
    for name, kind in columns:
        other = {"INTEGER": f"{name} + 7", "TEXT": f"{name} || '!'", "BLOB": "zeroblob(32)"}[kind]
        altered.execute("CREATE TEMP TABLE kept AS SELECT * FROM denials")
        altered.execute(f"UPDATE denials SET {name} = {other} WHERE number = {number}")
        assert breaks(altered) in (1, 2), name  # a link is also that before the next
        altered.execute("DELETE FROM denials")
        altered.execute("INSERT INTO denials SELECT * FROM kept")
        altered.execute("DROP TABLE kept")
        assert breaks(altered) == 0


@pytest.mark.parametrize(
    "sql",
    [
        "DELETE FROM denials WHERE number = 3",
        "DELETE FROM denials WHERE number = 4",
        "DELETE FROM denials",
        "UPDATE denials_gone SET number = number + 1",
        "UPDATE denials_gone SET number = 0, chain = zeroblob(32)",
        "UPDATE denials_gone SET chain = zeroblob(32)",
        "DELETE FROM denials_gone",
        "DELETE FROM denials; DELETE FROM denials_gone",
        "UPDATE denials SET id = 40 WHERE number = 3; UPDATE denials SET id = 3 WHERE number = 4",
    ],
)
def test_a_denial_that_is_gone_or_another_count_is_found(
    altered: sqlite3.Connection, sql: str
) -> None:
    """D1: how many are gone follows from the numbers of those that are left."""
    altered.executescript(sql)
    assert breaks(altered) > 0


def test_a_noted_head_of_denials_is_known_while_its_denial_is_kept(tmp_path: Path) -> None:
    """As one of decisions, it shows that the end was cut off."""
    harness = few_denials(tmp_path / "ledger.sqlite")
    deny(harness, START, 0)
    reader = ledger_file.open_reader(harness.path)
    noted = chain.head(reader, "denials")
    found = []
    for number in range(1, 4):
        deny(harness, START, number)
        found.append(chain.has_link(reader, noted))
    assert found == [True, True, False]
    reader.close()
    harness.close()
