"""Group commit: all of a group or nothing, and one request's error does not fail the others."""

import asyncio
import sqlite3
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from ledger.conftest import LedgerHarness
from support.reservations import limit, reservation

from sidecar.domain.decisions import Decision, HoldState
from sidecar.ledger.change import Change, same
from sidecar.ledger.group_commit import GroupCommit
from sidecar.ledger.protocol import LedgerUnavailableError
from sidecar.ledger.sqlite import SqliteLedger


class Refused(Exception):  # noqa: N818 - what these tests refuse with
    """A refusal."""


@pytest.fixture
def connection(tmp_path: Path) -> sqlite3.Connection:
    """A database with one table."""
    opened = sqlite3.connect(
        tmp_path / "x.sqlite", isolation_level=None, check_same_thread=False, timeout=0
    )
    opened.execute("PRAGMA journal_mode = WAL")
    opened.execute("CREATE TABLE t (n INTEGER NOT NULL UNIQUE) STRICT")
    return opened


class SlowDisk(ThreadPoolExecutor):
    """Commits for a ledger; each COMMIT waits until it is ready, or seconds have passed."""

    def __init__(self) -> None:
        """Begin not ready."""
        super().__init__(1)
        self.ready, self._reached = threading.Event(), threading.Event()

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Commit, later."""

        def later() -> Any:
            self._reached.set()
            self.ready.wait(5)
            return fn(*args, **kwargs)

        return super().submit(later)

    async def reached(self) -> None:
        """Wait for a COMMIT, and let other tasks run."""
        await asyncio.to_thread(self._reached.wait, 5)
        await asyncio.sleep(0)


def run(connection: sqlite3.Connection, *work: Callable[[], Any]) -> list[Any]:
    """Run all work at once through one GroupCommit."""

    async def all_of_it() -> list[Any]:
        commits = GroupCommit(connection, (Refused,), lambda: None)
        answers = await asyncio.gather(*map(commits.run, work), return_exceptions=True)
        await commits.close()
        return answers

    return asyncio.run(all_of_it())


def insert(connection: sqlite3.Connection, number: object) -> Callable[[], int]:
    """Insert a number, and answer with how many there are."""

    def work() -> int:
        connection.execute("INSERT INTO t VALUES (?)", (number,))
        (count,) = connection.execute("SELECT count(*) FROM t").fetchone()
        return int(count)

    return work


def test_work_that_arrives_together_is_committed_together(connection: sqlite3.Connection) -> None:
    """L4: a hundred requests need a handful of transactions, not a hundred."""
    statements: list[str] = []
    connection.set_trace_callback(statements.append)
    assert list(range(1, 101)) == run(connection, *(insert(connection, n) for n in range(100)))
    assert statements.count("COMMIT") <= 2


def test_more_requests_than_a_group_holds_take_several_groups(
    connection: sqlite3.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """L4: requests beyond the maximum are in the next group."""
    monkeypatch.setattr("sidecar.ledger.group_commit.MAX_GROUP_REQUESTS", 4)

    async def all_of_it() -> list[int]:
        commits = GroupCommit(connection, (), lambda: None)
        work = asyncio.gather(*(commits.run(insert(connection, n)) for n in range(10)))
        answers = await asyncio.wait_for(work, 10)
        await commits.close()
        return answers

    assert list(range(1, 11)) == asyncio.run(all_of_it())


def test_no_request_is_answered_while_the_commit_waits_for_the_disk(
    connection: sqlite3.Connection,
) -> None:
    """L4: the answer comes when what it says cannot be lost any more."""

    async def meanwhile() -> None:
        commits, disk = GroupCommit(connection, (), lambda: None), SlowDisk()
        commits._thread = disk  # noqa: SLF001
        waiting = asyncio.create_task(commits.run(insert(connection, 1)))
        await disk.reached()
        assert not waiting.done()
        disk.ready.set()
        assert await waiting == 1
        await commits.close()

    asyncio.run(meanwhile())


def test_uncommitted_holds_are_not_visible(harness: LedgerHarness) -> None:
    """L4: budgets and holds are read as they would be after a crash."""
    ledger: Any = harness.ledger
    one, request = limit(1000), reservation(1, limit(1000))

    async def meanwhile() -> tuple[int, int]:
        disk = ledger._commits._thread = SlowDisk()  # noqa: SLF001
        deciding = asyncio.create_task(harness.ledger.decide(request))
        await disk.reached()
        (before,) = harness.ledger.budgets([one], 1)
        assert harness.ledger.open_holds((0, 0), 1) == []  # type: ignore[attr-defined]
        disk.ready.set()
        decision = await deciding
        (after,) = harness.ledger.budgets([one], 1)
        assert harness.ledger.hold(decision.hold_id).state is HoldState.OPEN
        return before.held, after.held

    assert harness.run(meanwhile()) == (0, 100)


def test_a_refusal_is_answered_and_the_rest_of_its_group_stands(
    connection: sqlite3.Connection,
) -> None:
    """A refused request does not fail the others."""

    def refuse() -> None:
        raise Refused

    one, refused, two = run(connection, insert(connection, 1), refuse, insert(connection, 2))
    assert (one, isinstance(refused, Refused), two) == (1, True, 2)


def test_a_request_with_an_error_fails_alone(connection: sqlite3.Connection) -> None:
    """L4: what it had written is undone, and the others of its group are tried again."""

    def breaks() -> None:
        connection.execute("INSERT INTO t VALUES (77)")
        raise ZeroDivisionError

    answers = run(connection, insert(connection, 1), breaks, insert(connection, 2))
    assert [answers[0], answers[2]] == [1, 2]
    assert isinstance(answers[1], LedgerUnavailableError)
    assert connection.execute("SELECT n FROM t ORDER BY n").fetchall() == [(1,), (2,)]


def test_a_number_too_large_for_the_file_is_an_error_never_a_float(
    connection: sqlite3.Connection,
) -> None:
    """L7: beyond int64 nothing is written."""
    (answer,) = run(connection, insert(connection, 2**63))
    assert isinstance(answer, LedgerUnavailableError)


def test_a_lock_of_another_process_is_waited_for(
    connection: sqlite3.Connection, tmp_path: Path
) -> None:
    """Another process's short write fails no request."""
    visitor = sqlite3.connect(tmp_path / "x.sqlite", isolation_level=None)
    visitor.execute("BEGIN IMMEDIATE")

    async def meanwhile() -> int:
        commits = GroupCommit(connection, (), lambda: None)
        waiting = asyncio.create_task(commits.run(insert(connection, 1)))
        await asyncio.sleep(0.1)
        assert not waiting.done()
        visitor.execute("ROLLBACK")
        answer = await waiting
        await commits.close()
        return answer

    assert asyncio.run(meanwhile()) == 1
    visitor.close()


def test_a_file_locked_for_long_is_unavailable_and_recovers(
    connection: sqlite3.Connection, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The wait for a locked file is bounded."""
    monkeypatch.setattr("sidecar.ledger.group_commit.MAX_BUSY_TRIES", 3)
    visitor = sqlite3.connect(tmp_path / "x.sqlite", isolation_level=None)
    visitor.execute("BEGIN IMMEDIATE")
    (answer,) = run(connection, insert(connection, 1))
    assert "another process keeps the ledger file locked" in str(answer)
    visitor.execute("ROLLBACK")
    visitor.close()
    assert run(connection, insert(connection, 1)) == [1]


def test_a_caller_that_goes_away_does_not_undo_its_work(connection: sqlite3.Connection) -> None:
    """L4: the hold of a client that hung up is kept, and expires unless the client returns."""

    async def hang_up() -> None:
        commits = GroupCommit(connection, (), lambda: None)
        waiting = asyncio.create_task(commits.run(insert(connection, 1)))
        await asyncio.sleep(0)
        waiting.cancel()
        await commits.close()

    asyncio.run(hang_up())
    assert connection.execute("SELECT n FROM t").fetchall() == [(1,)]


def ignoring(connection: sqlite3.Connection, number: int) -> Callable[[None], int]:
    """Insert a number."""
    work = insert(connection, number)
    return lambda _: work()


def test_a_request_that_no_caller_waits_for_is_not_run(connection: sqlite3.Connection) -> None:
    """While a commit waits for the disk, one caller goes away, and one stays."""

    async def meanwhile() -> None:
        commits, disk = GroupCommit(connection, (), lambda: None), SlowDisk()
        commits._thread = disk  # noqa: SLF001
        first = asyncio.create_task(commits.run(insert(connection, 1)))
        await disk.reached()
        gone, stays = (
            commits.submit(lambda: None, ignoring(connection, number), same) for number in (2, 3)
        )
        await asyncio.sleep(0)
        assert gone.cancel()
        disk.ready.set()
        assert await first == 1
        assert await stays == 2
        with pytest.raises(asyncio.CancelledError):
            await gone
        await commits.close()

    asyncio.run(meanwhile())
    assert connection.execute("SELECT n FROM t ORDER BY n").fetchall() == [(1,), (3,)]


@pytest.mark.parametrize("firm", [True, False])
def test_a_change_that_is_firm_is_recorded_before_its_caller_is_cancelled(
    connection: sqlite3.Connection, firm: bool
) -> None:
    """L4: one whose group has begun, and one that is done in any case, such as a settlement."""

    async def meanwhile() -> None:
        commits, disk = GroupCommit(connection, (), lambda: None), SlowDisk()
        commits._thread = disk  # noqa: SLF001
        recorded: list[int] = []
        begins = commits.run(insert(connection, 1)) if firm else asyncio.sleep(0)
        first = asyncio.create_task(begins)
        if firm:
            await disk.reached()  # what comes next is in no group yet
        change = commits.submit(lambda: None, ignoring(connection, 2), recorded.append, firm=firm)
        caller = asyncio.ensure_future(_awaited(change))
        if not firm:
            await disk.reached()
        await asyncio.sleep(0)
        caller.cancel()
        await asyncio.sleep(0.05)
        assert not caller.done()
        assert not recorded
        disk.ready.set()
        with pytest.raises(asyncio.CancelledError):
            await caller
        assert len(recorded) == 1
        await first
        await commits.close()

    asyncio.run(meanwhile())
    assert (2,) in connection.execute("SELECT n FROM t").fetchall()


def test_no_caller_waits_for_a_loop_that_ends(connection: sqlite3.Connection) -> None:
    """Also for what is firm: the commit may wait for a disk without end."""
    commits, disk = GroupCommit(connection, (), lambda: None), SlowDisk()
    commits._thread = disk  # noqa: SLF001
    changes: list[Change[None]] = []

    async def meanwhile() -> None:
        changes.append(commits.submit(lambda: None, ignoring(connection, 1), lambda _: None))
        await disk.reached()
        changes.append(
            commits.submit(lambda: None, ignoring(connection, 2), lambda _: None, firm=True)
        )
        waiting = [asyncio.create_task(_awaited(change)) for change in changes]
        await asyncio.sleep(0)
        assert not any(task.done() for task in waiting)

    asyncio.run(meanwhile())
    disk.ready.set()
    assert all(change.cancelled() for change in changes)


async def _awaited(change: Change[None]) -> None:
    await change


def test_what_fails_with_a_result_fails_that_request_alone(connection: sqlite3.Connection) -> None:
    """L4: its change is on disk by then."""

    async def together() -> list[Any]:
        commits = GroupCommit(connection, (), lambda: None)
        work = [
            commits.submit(lambda: None, ignoring(connection, number), lambda made: 6 // (made - 2))
            for number in (1, 2, 3)
        ]
        results = await asyncio.gather(*work, return_exceptions=True)
        await commits.close()
        return results

    first, failed, third = asyncio.run(together())
    assert (first, type(failed), third) == (-6, ZeroDivisionError, 6)
    assert connection.execute("SELECT n FROM t ORDER BY n").fetchall() == [(1,), (2,), (3,)]


def test_a_request_that_cannot_be_prepared_fails_alone(connection: sqlite3.Connection) -> None:
    """L4: it is prepared when its group begins, and any error of that is its own."""
    begun: list[bool] = []

    def prepare(number: int) -> int:
        begun.append(connection.in_transaction)
        if number == 2:
            raise ZeroDivisionError
        return number

    async def together() -> list[Any]:
        commits = GroupCommit(connection, (), lambda: None)
        work = [
            commits.submit(partial(prepare, number), lambda made: insert(connection, made)(), same)
            for number in (1, 2, 3)
        ]
        results = await asyncio.gather(*work, return_exceptions=True)
        await commits.close()
        return results

    first, failed, third = asyncio.run(together())
    assert (first, type(failed), third) == (1, ZeroDivisionError, 2)
    assert begun == [True] * 3
    assert connection.execute("SELECT n FROM t ORDER BY n").fetchall() == [(1,), (3,)]


@pytest.mark.parametrize("error", [sqlite3.OperationalError, sqlite3.DatabaseError])
def test_an_error_of_the_file_while_preparing_says_that_the_ledger_is_unavailable(
    connection: sqlite3.Connection, error: type[sqlite3.Error]
) -> None:
    """L4: as one of the work; SQLite may have rolled the transaction back."""

    def unreadable() -> None:
        raise error("disk I/O error")

    async def alone() -> None:
        commits = GroupCommit(connection, (), lambda: None)
        try:
            await commits.submit(unreadable, lambda _: insert(connection, 1)(), same)
        finally:
            await commits.close()

    with pytest.raises(LedgerUnavailableError, match="disk I/O error"):
        asyncio.run(alone())
    assert connection.execute("SELECT n FROM t").fetchall() == []


def test_a_commit_that_waits_for_long_is_a_problem_while_it_lasts(
    connection: sqlite3.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Until then there is none, nor after it."""

    async def meanwhile() -> None:
        commits, disk = GroupCommit(connection, (), lambda: None), SlowDisk()
        commits._thread = disk  # noqa: SLF001
        waiting = asyncio.create_task(commits.run(insert(connection, 1)))
        await disk.reached()
        monkeypatch.setattr("sidecar.ledger.group_commit.MAX_COMMIT_SECONDS", 3600)
        assert not commits.problem()
        monkeypatch.setattr("sidecar.ledger.group_commit.MAX_COMMIT_SECONDS", 0)
        assert "the disk does not answer" in commits.problem()
        disk.ready.set()
        await waiting
        assert not commits.problem()
        await commits.close()

    asyncio.run(meanwhile())


def test_rolled_back_rows_are_not_remembered(harness: LedgerHarness) -> None:
    """L4: a row of prices that a failed group had written is written again by the next."""
    ledger: Any = harness.ledger
    connection = ledger._commits._connection  # noqa: SLF001 - make the next commit fail
    connection.execute(
        "CREATE TRIGGER no_hold BEFORE INSERT ON holds BEGIN SELECT raise(ABORT, 'x'); END"
    )
    (failed,) = harness.together(harness.ledger.decide(reservation(1, limit(None))))
    assert isinstance(failed, LedgerUnavailableError)
    connection.execute("DROP TRIGGER no_hold")
    hold = harness.run(harness.ledger.decide(reservation(2, limit(None)))).hold_id
    assert harness.ledger.hold(hold).tariff is not None


def test_a_full_disk_fails_calls_and_loses_nothing(tmp_path: Path) -> None:
    """L4: while the disk is full nothing is answered; when there is room, all is as it was."""
    harness = LedgerHarness(SqliteLedger, tmp_path / "ledger.sqlite")
    writer: Any = harness.ledger
    sql = writer._commits._connection.execute  # noqa: SLF001 - the disk fills up
    (pages,) = sql("PRAGMA page_count").fetchone()
    sql(f"PRAGMA max_page_count = {pages + 2}")
    kept, failed = [], 0
    for n in range(200):
        (answer,) = harness.together(harness.ledger.decide(reservation(n + 1, limit(None))))
        if isinstance(answer, Decision):
            kept.append(answer.hold_id)
        else:
            failed += 1
            assert "database or disk is full" in str(answer)
    assert kept
    assert failed
    sql("PRAGMA max_page_count = 1073741823")
    harness.run(harness.ledger.decide(reservation(1000, limit(None))))
    assert all(harness.ledger.hold(hold_id) for hold_id in kept)
    assert harness.findings() == []
    harness.close()
