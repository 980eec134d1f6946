"""The room that a ledger takes on its disk, and what is free there."""

import os
from pathlib import Path
from typing import NamedTuple


class DiskUse(NamedTuple):
    """Sizes in bytes: of the ledger's file and its WAL, free on their disk, and of the disk."""

    file_bytes: int
    wal_bytes: int
    free_bytes: int
    disk_bytes: int


def disk_use(ledger: Path) -> DiskUse:
    """Return the disk use of a ledger; a file that is missing has 0 bytes.

    Free is what a user may take who is not root.
    """
    real = ledger.resolve()
    disk = os.statvfs(real.parent)
    return DiskUse(
        file_bytes=size_of(real),
        wal_bytes=size_of(Path(f"{real}-wal")),
        free_bytes=disk.f_bavail * disk.f_frsize,
        disk_bytes=disk.f_blocks * disk.f_frsize,
    )


def size_of(path: Path) -> int:
    """Return the size of a file in bytes, 0 if it is missing."""
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0
