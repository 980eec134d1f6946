"""Opening a ledger file: only a healthy one, on a local disk, by one writer."""

import errno
import os
import sqlite3
import stat
import subprocess
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from ledger.conftest import LedgerHarness
from support import tools
from support.operator_ledger import NOON, operator_ledger
from support.reservations import limit, reservation

from sidecar.ledger import backup, ledger_file
from sidecar.ledger.protocol import LedgerRefusedError, LedgerUnavailableError
from sidecar.ledger.schema import APPLICATION_ID
from sidecar.ledger.sqlite import SqliteLedger

FULL = 2  # of PRAGMA synchronous: each commit of a WAL is flushed to the disk


def refusal(path: Path) -> str:
    """Return why a file is refused; check that it is unchanged."""
    before = path.read_bytes() if path.is_file() else None
    with pytest.raises(LedgerRefusedError) as caught:
        SqliteLedger(path)
    assert before == (path.read_bytes() if path.is_file() else None)
    assert str(path) in str(caught.value)
    return str(caught.value)


def test_a_file_that_is_no_database_is_refused(tmp_path: Path) -> None:
    """Another file is not overwritten."""
    path = tmp_path / "notes.txt"
    path.write_text("remember the milk\n" * 100)
    assert "cannot be opened as a ledger: file is not a database" in refusal(path)


def test_a_disk_that_fails_at_the_start_is_named_and_leaves_no_lock(
    harness: LedgerHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The next start opens it, as soon as its disk answers."""

    def failing(_path: object) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    harness.run(harness.ledger.close())
    with monkeypatch.context() as patch:
        patch.setattr(os, "statvfs", failing)
        assert "cannot be read: [Errno 5] Input/output error; look at its disk" in refusal(
            harness.path
        )
    harness.ledger = SqliteLedger(harness.path)


def test_a_database_of_another_program_is_refused(tmp_path: Path) -> None:
    """A foreign database gets none of our tables."""
    path = tmp_path / "other.sqlite"
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE songs (title TEXT)")
    connection.close()
    assert "is a database, but not a ledger of this program" in refusal(path)


def test_a_ledger_of_a_newer_program_is_refused(harness: LedgerHarness) -> None:
    """A ledger that a newer version wrote is refused."""
    harness.run(harness.ledger.close())
    with sqlite3.connect(harness.path) as connection:
        connection.execute(
            "INSERT INTO _sqlite_migrations (migration_set, name) VALUES ('spend-ledger', '9999_x')"
        )
    connection.close()
    assert "was written by a newer version (9999_x); upgrade this program" in refusal(harness.path)
    with sqlite3.connect(harness.path) as connection:
        connection.execute("DELETE FROM _sqlite_migrations WHERE name = '9999_x'")
    connection.close()
    harness.ledger = SqliteLedger(harness.path)


@pytest.mark.parametrize("at", [40, 4096 * 3 + 8])
def test_a_damaged_ledger_is_refused(at: int, tmp_path: Path) -> None:
    """Damage in the header or in a page stops the start, with the way out."""
    path = tmp_path / "ledger.sqlite"
    harness = LedgerHarness(SqliteLedger, path)
    for n in range(20):
        harness.run(harness.ledger.decide(reservation(n + 1, limit(None))))
    harness.close()
    content = bytearray(path.read_bytes())
    content[at : at + 400] = b"\xff" * 400
    path.write_bytes(content)
    assert "restore a backup" in refusal(path)


def test_only_verify_reads_all_of_a_large_ledger(
    harness: LedgerHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The start does not grow with the file: SQLite cannot be stopped while it checks a table."""
    statements: list[str] = []
    connect = sqlite3.connect

    def traced(*args: Any, **options: Any) -> sqlite3.Connection:
        connection: sqlite3.Connection = connect(*args, **options)
        connection.set_trace_callback(statements.append)
        return connection

    monkeypatch.setattr(sqlite3, "connect", traced)
    harness.reopen()
    assert "PRAGMA quick_check(1)" in statements
    statements.clear()
    monkeypatch.setattr(ledger_file, "QUICK_CHECK_BYTES", 0)
    harness.reopen()
    assert [one for one in statements if "check" in one] == []


def test_a_second_writer_is_refused_with_the_first_ones_process(harness: LedgerHarness) -> None:
    """Two writers would each have balances of their own."""
    assert "another sidecar (process " in refusal(harness.path)


@pytest.mark.parametrize("end", ["", "-wal", ".lock"])
def test_nothing_is_answered_from_a_file_that_was_moved_away(
    harness: LedgerHarness, end: str, tmp_path: Path
) -> None:
    """L4: it would be gone after the next start; put back, it goes on."""
    harness.run(harness.ledger.decide(reservation(NOON, limit(None))))
    file = Path(f"{harness.path}{end}")
    file.rename(tmp_path / "elsewhere")
    (answer,) = harness.together(harness.ledger.decide(reservation(NOON, limit(None))))
    assert "was moved, deleted or replaced while in use" in str(answer)
    with pytest.raises(LedgerUnavailableError):
        harness.ledger.preview(reservation(NOON, limit(None)))
    (tmp_path / "elsewhere").rename(file)
    assert harness.run(harness.ledger.decide(reservation(NOON, limit(None)))).hold_id


def test_a_link_to_a_ledger_in_use_is_the_ledger_in_use(
    harness: LedgerHarness, tmp_path: Path
) -> None:
    """L9: under every name, a file has one writer."""
    link = tmp_path / "link.sqlite"
    link.symlink_to(harness.path)
    with pytest.raises(LedgerRefusedError, match="another sidecar"):
        SqliteLedger(link)


def test_the_lock_of_a_ledger_follows_no_link_and_overwrites_nothing(tmp_path: Path) -> None:
    """Another user who may write to the folder could name a file of ours as the lock."""
    victim, path = tmp_path / "victim", tmp_path / "ledger.sqlite"
    holder = tmp_path / "ledger.sqlite.lock"
    for make in (
        lambda: holder.symlink_to(victim),
        lambda: holder.hardlink_to(victim),
        lambda: holder.write_text("precious"),
        lambda: os.mkfifo(holder),
    ):
        victim.write_text("precious")
        make()
        with pytest.raises(LedgerRefusedError, match="lock file"):
            SqliteLedger(path)
        assert victim.read_text() == "precious"
        if holder.is_file():
            assert holder.read_text() == "precious"
        holder.unlink()
    assert not path.exists()


def test_the_lock_that_an_older_version_left_is_taken(harness: LedgerHarness) -> None:
    """It has a process's number and nothing else."""
    harness.run(harness.ledger.close())
    holder = harness.path.with_name(f"{harness.path.name}.lock")
    holder.write_text("1234567")
    harness.ledger = SqliteLedger(harness.path)
    assert int(holder.read_text()) == os.getpid()


def test_a_new_ledger_is_for_its_owner_alone(tmp_path: Path) -> None:
    """With its WAL, its lock, a backup and a restored one; a mode that a person set stays."""
    before = os.umask(0o022)
    try:
        with operator_ledger(tmp_path / "ledger.sqlite") as opened:
            opened.hold(NOON, limit(None))
            backup.back_up(opened.path, tmp_path / "copy.sqlite")
            modes = {file.name: stat.filemode(file.stat().st_mode) for file in tmp_path.iterdir()}
        assert len(modes) == 5
        assert set(modes.values()) == {"-rw-------"}
        (tmp_path / "ledger.sqlite").chmod(0o640)
        with operator_ledger(tmp_path / "ledger.sqlite") as opened:
            opened.hold(NOON, limit(None))
            assert stat.S_IMODE((tmp_path / "ledger.sqlite-wal").stat().st_mode) == 0o640
    finally:
        os.umask(before)


def test_a_file_with_several_hard_links_is_refused(harness: LedgerHarness, tmp_path: Path) -> None:
    """A hard link would be locked under another name."""
    harness.run(harness.ledger.close())
    second = tmp_path / "second.sqlite"
    second.hardlink_to(harness.path)
    assert "has several hard links" in refusal(second)
    second.unlink()
    harness.ledger = SqliteLedger(harness.path)


def test_a_start_that_was_killed_early_leaves_a_file_that_is_still_ours(tmp_path: Path) -> None:
    """Killed before the first table was made, the next start goes on."""
    path = tmp_path / "ledger.sqlite"
    with sqlite3.connect(path) as connection:
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
    connection.close()
    harness = LedgerHarness(SqliteLedger, path)
    harness.close()


def test_a_closed_ledger_can_be_opened_again(harness: LedgerHarness) -> None:
    """Closing lets go of the file, and so does a start that failed."""
    harness.reopen()


def test_a_ledger_may_be_closed_twice(harness: LedgerHarness) -> None:
    """Its WAL is gone after the first time, and that is no fault."""
    harness.run(harness.ledger.decide(reservation(NOON, limit(None))))
    harness.run(harness.ledger.close())
    harness.run(harness.ledger.close())
    harness.reopen()


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    """The message says which file, and what to do."""
    assert "give --ledger a file in a folder" in refusal(tmp_path / "nowhere" / "ledger.sqlite")


def test_a_read_only_disk_is_named(tmp_path: Path) -> None:
    """A ledger that cannot be written is refused at once, with the reason."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = subprocess.run(  # noqa: S603
        [tools.program("mount"), "-t", "tmpfs", "-o", "ro", "tmpfs", disk],
        capture_output=True,
        check=False,
    )
    if mount.returncode:
        tools.cannot(mount.stderr.decode().strip())
    try:
        assert "cannot be written: Read-only file system" in refusal(disk / "ledger.sqlite")
    finally:
        subprocess.run([tools.program("umount"), disk], check=True)  # noqa: S603


@pytest.mark.parametrize(
    "kind",
    [
        "nfs", "nfs4", "cifs", "smb3", "ceph", "glusterfs", "lustre", "gpfs", "beegfs", "ocfs2",
        "gfs2", "fuse.sshfs", "fuse.s3fs", "fuse.gcsfuse", "fuse.glusterfs", "fuse.juicefs",
    ],
)  # fmt: skip
def test_a_network_file_system_is_refused(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SQLite's WAL would lose writes there."""
    monkeypatch.setattr(ledger_file, "_file_system", lambda _: kind)
    assert f"is on a network file system ({kind})" in refusal(tmp_path / "ledger.sqlite")


@pytest.mark.parametrize(
    "kind", ["ext4", "xfs", "overlay", "tmpfs", "fuseblk", "fuse.fuse-overlayfs", ""]
)
def test_a_local_file_system_is_not(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Disks, what containers run on, and what the kernel does not name."""
    monkeypatch.setattr(ledger_file, "_file_system", lambda _: kind)
    LedgerHarness(SqliteLedger, tmp_path / "ledger.sqlite").close()


@pytest.mark.parametrize(
    "name", [b"disk", b"a\tdisk, 100 % \\040", "données".encode(), b"no text \xff"], ids=repr
)
def test_a_file_system_is_found_whatever_its_place_is_called(name: bytes, tmp_path: Path) -> None:
    """The kernel writes odd names in its own way; a mount that is not found is not refused."""
    place = tmp_path / os.fsdecode(name)
    place.mkdir()
    mount = subprocess.run(  # noqa: S603
        [tools.program("mount"), "-t", "ramfs", "ramfs", place], capture_output=True, check=False
    )
    if mount.returncode:
        tools.cannot(mount.stderr.decode().strip())
    try:
        assert ledger_file._file_system(place / "a" / "b") == "ramfs"  # noqa: SLF001
        assert ledger_file._file_system(tmp_path) != "ramfs"  # noqa: SLF001
    finally:
        subprocess.run([tools.program("umount"), place], check=True)  # noqa: S603


def test_the_file_identifies_itself(harness: LedgerHarness) -> None:
    """L4: the header has the application's id, and every commit is flushed to disk."""
    ledger: Any = harness.ledger
    writer = ledger._commits._connection  # noqa: SLF001 - the pragma is the connection's own
    assert writer.execute("PRAGMA synchronous").fetchone() == (FULL,)
    connection = sqlite3.connect(harness.path)
    assert connection.execute("PRAGMA application_id").fetchone() == (APPLICATION_ID,)
    assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    connection.close()


def test_a_second_writer_leaves_checkpoints_to_the_first(harness: LedgerHarness) -> None:
    """Two connections that checkpoint could damage the file, with versions of SQLite in use."""
    harness.run(harness.ledger.decide(reservation(1, limit(None))))
    before = harness.path.read_bytes()
    with closing(ledger_file.open_second_writer(harness.path)) as second:
        second.execute("CREATE TABLE filler (content BLOB)")
        for _ in range(20):  # more than the 1000 pages at which SQLite checkpoints by itself
            second.execute("INSERT INTO filler VALUES (zeroblob(400000))")
        assert Path(f"{harness.path}-wal").stat().st_size > 1000 * 4096
    assert harness.path.read_bytes() == before
    harness.run(harness.ledger.decide(reservation(2, limit(None))))
    assert harness.path.read_bytes() != before


def test_views_have_readable_amounts_and_times(harness: LedgerHarness) -> None:
    """Spend, open holds, decisions and budgets have a view each, with dates and USD."""
    harness.run(harness.ledger.decide(reservation(1_700_000_000_000_000, limit(1000))))
    connection = sqlite3.connect(harness.path)
    connection.row_factory = sqlite3.Row
    (hold,) = connection.execute("SELECT * FROM open_holds")
    assert (hold["held_cost_usd"], hold["held_tokens"]) == ("$0.000100000", 100)
    (decision,) = connection.execute("SELECT * FROM decision_log")
    assert (decision["decided_at_utc"], decision["effect"]) == ("2023-11-14 22:13:20", "allow")
    (budget,) = connection.execute("SELECT * FROM budgets_by_window")
    assert (budget["from_utc"], budget["remaining"]) == ("2023-11-14 00:00:00", 900)
    assert connection.execute("SELECT * FROM spend_by_team_model_day").fetchall() == []
    connection.close()
