"""Compaction: gives the room of pruned decisions back to the disk.

A running sidecar uses that room again, so its file does not grow; but it never shrinks by itself.
"""

import os
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from sidecar.ledger import ledger_file
from sidecar.ledger.disk_use import disk_use, size_of
from sidecar.ledger.protocol import LedgerRefusedError


class RoomNeeded(NamedTuple):
    """What a compaction takes for its time, in bytes: beside the ledger, and in temporary files."""

    beside_bytes: int
    temporary_bytes: int
    folder: Path
    """Of the temporary files."""


def compact(ledger: Path, starting: Callable[[RoomNeeded], object]) -> tuple[int, int]:
    """Compact a ledger that no sidecar uses; return its sizes in bytes, before and after.

    Calls `starting` with the room that it needs. It is one transaction: what ends it changes
    nothing. Raises LedgerRefusedError, also if the room is not there.
    """
    path = ledger_file.canonical_path(ledger)
    with ledger_file.sole_writer(path) as connection:
        try:
            _fold(connection)
            needed = _room_needed(connection)
            _check_room(path, needed)
            starting(needed)
            before_bytes = size_of(path)
            connection.execute("VACUUM")
            _fold(connection)
        except sqlite3.Error as error:
            raise LedgerRefusedError(f"{ledger}: was not compacted: {error}") from None
        return before_bytes, size_of(path)


def _fold(connection: sqlite3.Connection) -> None:
    """Fold the WAL into the file. Raises sqlite3.OperationalError if another program uses it."""
    (is_busy, _, _) = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    if is_busy:
        raise sqlite3.OperationalError("another program uses it")


def _room_needed(connection: sqlite3.Connection) -> RoomNeeded:
    """SQLite writes what is in use to a temporary file, and from there to the WAL."""
    pages, free_pages, page_bytes = (
        int(connection.execute(f"PRAGMA {name}").fetchone()[0])
        for name in ("page_count", "freelist_count", "page_size")
    )
    used_bytes = (pages - free_pages) * page_bytes
    wal_bytes = used_bytes + used_bytes // 50  # each page has a header there
    return RoomNeeded(wal_bytes, used_bytes, _temporary_folder())


def _temporary_folder() -> Path:
    """Return the folder that SQLite has for temporary files."""
    named = (os.environ.get("SQLITE_TMPDIR"), os.environ.get("TMPDIR"))
    for folder in (*named, "/var/tmp", "/usr/tmp", "/tmp"):  # noqa: S108 - SQLite's own list
        if folder and Path(folder).is_dir() and os.access(folder, os.W_OK | os.X_OK):
            return Path(folder)
    return Path()


def _check_room(path: Path, needed: RoomNeeded) -> None:
    """Raise LedgerRefusedError if a disk has too little room."""
    beside_bytes = needed.beside_bytes
    if path.parent.stat().st_dev == needed.folder.stat().st_dev:
        beside_bytes += needed.temporary_bytes
    for folder, bytes_, way_out in (
        (path.parent, beside_bytes, "make room there, or move the ledger to a larger disk"),
        (needed.folder, needed.temporary_bytes, "SQLITE_TMPDIR names another folder for them"),
    ):
        free_bytes = disk_use(folder / path.name).free_bytes
        if free_bytes < bytes_:
            raise LedgerRefusedError(
                f"{path}: was not compacted: that needs {bytes_:,} bytes in {folder}, where"
                f" {free_bytes:,} are free; {way_out}"
            )
