"""Backups of a ledger in use: one snapshot, within bounds, and nothing left behind."""

import os
import signal
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from support import disks
from support.commands import sidecar
from support.operator_ledger import NOON, OperatorLedger, operator_ledger
from support.reservations import limit

from sidecar.ledger import backup, ledger_file, long_read
from sidecar.ledger.protocol import LedgerRefusedError
from sidecar.ledger.verify import verify


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where the ledger is: a folder of its own, so that leftovers show."""
    (tmp_path / "of-the-ledger").mkdir()
    return tmp_path / "of-the-ledger" / "ledger.sqlite"


@pytest.fixture
def copies(tmp_path: Path) -> Path:
    """A folder for copies alone."""
    folder = tmp_path / "copies"
    folder.mkdir()
    return folder


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    """A small ledger is copied in many steps, and each query is watched."""
    monkeypatch.setattr(backup, "MAX_CHUNK_PAGES", 4)
    monkeypatch.setattr(long_read, "_CHECK_EVERY_STEPS", 10)


def decisions(path: Path) -> int:
    """Count the decisions of a ledger."""
    with closing(ledger_file.open_reader(path)) as reader:
        return int(reader.execute("SELECT count(*) FROM decisions").fetchone()[0])


def test_a_backup_of_a_busy_ledger_takes_no_more_steps_than_one_of_an_idle_ledger(
    path: Path, tmp_path: Path
) -> None:
    """A commit between any two steps does not begin it anew; the copy is as of its start."""
    with operator_ledger(path) as opened:
        opened.hold(NOON, limit(None))
        idle: list[int] = []
        backup.back_up(path, tmp_path / "idle.sqlite", lambda done, _: idle.append(done))
        busy: list[int] = []

        def step(done: int, _: int) -> None:
            assert len(busy) < 2 * len(idle), "it began anew"
            busy.append(done)
            opened.hold(NOON, limit(None))

        backup.back_up(path, tmp_path / "busy.sqlite", step)
        assert len(idle) > 2
        assert busy == idle
        assert (decisions(tmp_path / "busy.sqlite"), decisions(path)) == (1, 1 + len(busy))


def test_a_backup_is_one_file_that_a_read_only_disk_can_hold(path: Path, tmp_path: Path) -> None:
    """It is verified and restored from there; a WAL would have to be created beside it."""
    disk = tmp_path / "disk"
    with disks.small_disk(disk, 4 * 2**20):
        copy = disk / "copy.sqlite"
        with operator_ledger(path) as opened:
            opened.hold(NOON, limit(None))
            backup.back_up(path, copy)
        assert [file.name for file in disk.iterdir()] == ["copy.sqlite"]
        disks.mount(disk, "remount,ro")
        code, out, err = sidecar("ledger", "verify", "--ledger", copy)
        assert (code, "1 decision," in out, "clean" in out) == (0, True, True), err
        code, _, err = sidecar("ledger", "restore", copy, "--ledger", tmp_path / "new.sqlite")
        assert code == 0, err
    with operator_ledger(tmp_path / "new.sqlite") as opened:
        opened.hold(NOON, limit(None))
        assert decisions(tmp_path / "new.sqlite") == 2


def test_a_backup_that_gets_a_signal_leaves_nothing(path: Path, copies: Path) -> None:
    """SIGTERM ends it between two steps, or within its check of the copy."""
    with operator_ledger(path) as opened:
        opened.hold(NOON, limit(None))
        for is_due in (lambda done, _: done == 4, lambda done, pages: done == pages):

            def step(done: int, pages: int, is_due: Callable[[int, int], bool] = is_due) -> None:
                if is_due(done, pages):
                    os.kill(os.getpid(), signal.SIGTERM)

            with pytest.raises(LedgerRefusedError, match="the read was ended: by a signal"):
                backup.back_up(path, copies / "copy.sqlite", step)
            assert list(copies.iterdir()) == []
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


def test_a_backup_without_room_leaves_nothing(path: Path, tmp_path: Path) -> None:
    """The disk of the copy is full: it says so, and takes no room."""
    disk = tmp_path / "disk"
    with operator_ledger(path) as opened, disks.small_disk(disk, 65_536):
        opened.hold(NOON, limit(None))
        with pytest.raises(LedgerRefusedError, match="cannot be written: database or disk is full"):
            backup.back_up(path, disk / "copy.sqlite")
        assert list(disk.iterdir()) == []


def many_calls(opened: OperatorLedger) -> None:
    """Let the WAL grow."""
    for _ in range(5):
        opened.hold(NOON, limit(None))


def test_a_backup_ends_itself_when_the_wal_grows_too_far(
    path: Path, copies: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is written during a long read stays in the WAL."""
    monkeypatch.setattr(long_read, "MAX_WAL_GROWTH_BYTES", 10_000)
    with operator_ledger(path) as opened:
        opened.hold(NOON, limit(None))
        with pytest.raises(LedgerRefusedError, match="its WAL has grown to"):
            backup.back_up(path, copies / "copy.sqlite", lambda *_: many_calls(opened))
    assert list(copies.iterdir()) == []


def test_a_long_read_ends_itself_when_the_disk_gets_full(tmp_path: Path, copies: Path) -> None:
    """Half of what was free is left to the sidecar, and other programs may take the rest."""
    disk = tmp_path / "disk"
    with disks.small_disk(disk, 16 * 2**20), operator_ledger(disk / "ledger.sqlite") as opened:
        opened.hold(NOON, limit(None))

        def step(_done: int, _pages: int) -> None:
            (disk / "other").write_bytes(bytes(10 * 2**20))

        with pytest.raises(LedgerRefusedError, match="its disk has only"):
            backup.back_up(opened.path, copies / "copy.sqlite", step)
        assert list(copies.iterdir()) == []
        with closing(ledger_file.open_reader(opened.path)) as reader:

            def checked() -> None:
                with long_read.long_read(reader, opened.path):
                    (disk / "another").write_bytes(bytes(3 * 2**20))
                    verify(reader)

            with pytest.raises(LedgerRefusedError, match="its disk has only"):
                checked()


def test_a_slow_reader_of_an_export_does_not_keep_the_ledger_open(path: Path) -> None:
    """As `ledger export | less` is; it shows one moment, however long ago that is."""
    with operator_ledger(path) as opened:
        many_calls(opened)
        columns, rows = backup.table(path, "decision_log")
        first = next(rows)
        many_calls(opened)
        with closing(sqlite3.connect(path)) as connection:
            busy, in_wal, folded = connection.execute("PRAGMA wal_checkpoint(FULL)").fetchone()
        assert (busy, in_wal) == (0, folded)
        assert len([first, *rows]) == 5
        assert "decided_at_utc" in columns


def test_a_backup_of_a_ledger_that_is_not_there_says_so(tmp_path: Path) -> None:
    """There is nothing to restore, and no file is left."""
    with pytest.raises(LedgerRefusedError, match="there is no such ledger"):
        backup.back_up(tmp_path / "missing.sqlite", tmp_path / "copy.sqlite")
    assert list(tmp_path.iterdir()) == []
