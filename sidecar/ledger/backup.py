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
from sidecar.ledger.protocol import LedgerRefusedError
from sidecar.ledger.verify import verify

MAX_CHUNK_PAGES = 1_000
"""Pages copied at a time; between two chunks a sidecar can write."""

EXPORTED = (
    "decisions", "holds", "hold_amounts", "budgets", "prices", "policy_sets", "adjustments",
    "decision_log", "open_holds", "spend_by_team_model_day", "budgets_by_window", "adjustment_log",
    "alerts", "alert_deliveries", "alert_log", "key_versions", "key_usage", "key_tracking",
    "key_rotations", "key_rotation_steps", "key_rotation_log",
)  # fmt: skip
"""The tables and views that can be exported."""

Progress = Callable[[int, int], object]
"""Called with the number of pages copied, and of all pages."""


def back_up(ledger: Path, target: Path, progress: Progress = lambda *_: None) -> int:
    """Copy a consistent snapshot of a ledger, in use or not; return its size in bytes.

    The copy is verified before it gets its name. Raises LedgerRefusedError.
    """
    if target.exists():
        raise LedgerRefusedError(f"{target}: already exists; give another name")
    with closing(ledger_file.open_reader(ledger)) as source, _new_file(target) as copy:
        source.backup(
            copy,
            pages=MAX_CHUNK_PAGES,
            progress=lambda _, left, pages: progress(pages - left, pages),
        )
        _check_undamaged(ledger, copy)
    return target.stat().st_size


def restore(backup: Path, ledger: Path) -> Path | None:
    """Replace a ledger that no sidecar uses by a backup; return the old ledger's new path.

    A backup of an older version is migrated. The old ledger is renamed only once the copy
    is whole. Raises LedgerRefusedError.
    """
    with (
        closing(ledger_file.open_reader(backup, older=True)) as source,
        ledger_file.lock(ledger_file.canonical_path(ledger)),
        _new_file(ledger) as copy,
    ):
        source.backup(copy)
        schema.migrations.apply(Database(copy))
        _check_undamaged(backup, copy)
        return _put_aside(ledger) if ledger.exists() else None


def table(ledger: Path, name: str) -> tuple[list[str], Iterator[tuple[Any, ...]]]:
    """Return the column names and rows of one of EXPORTED. Raises LedgerRefusedError."""
    connection = ledger_file.open_reader(ledger)
    found = connection.execute(f"SELECT * FROM {name}")  # noqa: S608 - one of EXPORTED
    return [column[0] for column in found.description], iter(found)


@contextmanager
def _new_file(target: Path) -> Iterator[sqlite3.Connection]:
    """Make a database under a temporary name; rename it to the target on success."""
    try:
        handle, name = tempfile.mkstemp(prefix=f".{target.name}.", dir=target.parent)
    except OSError as error:
        raise LedgerRefusedError(f"{target}: cannot be written: {error.strerror}") from None
    os.close(handle)
    new = Path(name)
    try:
        with closing(sqlite3.connect(new)) as connection:
            yield connection
        new.replace(target)
    except sqlite3.Error as error:
        raise LedgerRefusedError(f"{target}: cannot be written: {error}") from None
    finally:
        new.unlink(missing_ok=True)


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
