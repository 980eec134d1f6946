"""Backup, restore and export of a ledger."""

import os
import sqlite3
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from sqlite_utils import Database

from sidecar.ledger import ledger_file, schema
from sidecar.ledger.long_read import LongRead, long_read
from sidecar.ledger.protocol import LedgerRefusedError
from sidecar.ledger.verify import verify

MAX_CHUNK_PAGES = 1_000
"""Pages copied at a time; between two chunks a sidecar can write."""

EXPORTED = (
    "decisions", "denials", "all_decisions", "holds", "hold_amounts", "budgets", "prices",
    "policy_sets", "adjustments", "decision_log", "open_holds", "spend_by_team_model_day",
    "budgets_by_window", "adjustment_log", "time_corrections", "time_correction_log", "alerts",
    "alert_deliveries", "alert_log",
    "key_versions", "key_usage", "key_tracking", "key_rotations", "key_rotation_steps",
    "key_rotation_log",
)  # fmt: skip
"""The tables and views that can be exported."""

Progress = Callable[[int, int], object]
"""Called with the number of pages copied, and of all pages."""


def back_up(ledger: Path, target: Path, progress: Progress = lambda *_: None) -> int:
    """Copy a consistent snapshot of a ledger, in use or not; return its size in bytes.

    The copy is one file without a WAL. It is verified before it gets its name. Raises
    LedgerRefusedError, also at the bounds of a long read and at SIGTERM.
    """
    if target.exists():
        raise LedgerRefusedError(f"{target}: already exists; give another name")
    with (
        closing(ledger_file.open_reader(ledger)) as source,
        long_read(source, ledger) as read,
        _new_file(target) as copy,
    ):
        _copy(source, copy, read, progress)
        _check_undamaged(ledger, copy)
    return target.stat().st_size


def restore(backup: Path, ledger: Path) -> Path | None:
    """Replace a ledger that no sidecar uses by a backup; return the old ledger's new path.

    A backup of an older version is migrated. The old ledger is renamed only once the copy
    is whole. Raises LedgerRefusedError.
    """
    with (
        closing(ledger_file.open_reader(backup, older=True)) as source,
        long_read(source, backup, in_use=False) as read,
        ledger_file.lock(ledger_file.canonical_path(ledger)),
        _new_file(ledger) as copy,
    ):
        _copy(source, copy, read)
        schema.migrations.apply(Database(copy))
        _check_undamaged(backup, copy)
        return _put_aside(ledger) if ledger.exists() else None


def table(ledger: Path, name: str) -> tuple[list[str], Iterator[tuple[Any, ...]]]:
    """Return the column names and rows of one of EXPORTED, all as of one moment.

    They are copied to a temporary table first: however slowly the rows are taken, the ledger is
    read no longer than that takes. Raises LedgerRefusedError.
    """
    connection = ledger_file.open_reader(ledger)
    try:
        with long_read(connection, ledger):
            connection.execute(
                f"CREATE TEMP TABLE exported AS SELECT * FROM main.{name}"  # noqa: S608 - one of EXPORTED
            )
    except sqlite3.Error as error:
        raise LedgerRefusedError(
            f"{ledger}: cannot be read: {error}; its rows are first copied to the folder for"
            " temporary files, which SQLITE_TMPDIR names"
        ) from None
    found = connection.execute("SELECT * FROM exported ORDER BY rowid")
    return [column[0] for column in found.description], iter(found)


def _copy(
    source: sqlite3.Connection,
    copy: sqlite3.Connection,
    read: LongRead,
    progress: Progress = lambda *_: None,
) -> None:
    """Copy a ledger as of now into an empty file, which gets a rollback journal."""

    def copied(_status: int, left: int, pages: int) -> None:
        read.check()
        progress(pages - left, pages)

    # One transaction for all chunks: without it, each commit of a sidecar begins the copy anew.
    source.execute("BEGIN")
    source.execute("SELECT count(*) FROM sqlite_schema").fetchone()
    copy.execute("PRAGMA journal_mode = OFF")
    source.backup(copy, pages=MAX_CHUNK_PAGES, progress=copied)
    source.execute("ROLLBACK")
    read.drop_bounds()
    read.watch(copy)
    copy.execute("PRAGMA journal_mode = DELETE")  # a WAL cannot be read on a read-only disk


@contextmanager
def _new_file(target: Path) -> Iterator[sqlite3.Connection]:
    """Make a database under a temporary name; rename it to the target on success."""
    try:
        handle, name = tempfile.mkstemp(prefix=f".{target.name}.", dir=target.parent)
    except OSError as error:
        raise LedgerRefusedError(f"{target}: cannot be written: {error.strerror}") from None
    os.close(handle)
    try:
        with closing(sqlite3.connect(name, isolation_level=None)) as connection:
            yield connection
        Path(name).replace(target)
    except sqlite3.Error as error:
        raise LedgerRefusedError(f"{target}: cannot be written: {error}") from None
    finally:
        for end in ("", "-journal", "-wal", "-shm"):
            Path(f"{name}{end}").unlink(missing_ok=True)


def _put_aside(ledger: Path) -> Path:
    """Fold the WAL into a ledger, and rename it; return its new path."""
    with closing(sqlite3.connect(ledger)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    number = 1
    while (before := ledger.with_name(f"{ledger.name}.before-restore-{number}")).exists():
        number += 1
    ledger.rename(before)
    for end in ("-wal", "-shm"):
        Path(f"{ledger}{end}").unlink(missing_ok=True)
    return before


def _check_undamaged(path: Path, connection: sqlite3.Connection) -> None:
    findings, _ = verify(connection)
    if findings:
        first = findings[0]
        raise LedgerRefusedError(f"{path}: is damaged: {first.promise}: {first.place}")
