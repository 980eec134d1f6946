"""A file beside the ledger that keeps room on the disk, for what has to go on when that is full.

What is in the WAL takes room a second time when it is folded into the file. On a full disk it
could never be, not even after a restart. So the reserve is as large as the file is about to grow,
and a base for settlements, releases and prunings; decisions get none of it.
"""

import contextlib
import logging
import os
import stat
from pathlib import Path

from sidecar.ledger.disk_use import disk_use, size_of

log = logging.getLogger(__name__)

BASE_BYTES = 8 * 2**20
"""What is kept beside the growth that is known: for what calls add between two looks at it, and for
settlements on a full disk."""

MAX_DISK_PARTS = 16
"""On a small disk it is at most this part of the disk."""

MIN_FREE_BYTES = 2**20
"""With less beside the reserve a disk is full for decisions; with twice as much it no longer is."""

_STEP_BYTES = 2**20


class Reserve:
    """The file LEDGER.reserve of zeros."""

    def __init__(self, ledger: Path) -> None:
        """Use the file beside this ledger, whose lock the process has."""
        self._ledger = ledger
        self._path = Path(f"{ledger}.reserve")
        self.is_full = False
        """Whether what room is left is for settlements, releases and prunings."""

    def free(self) -> None:
        """Give the room back to the disk."""
        if self._path.exists():
            self._resize(0)

    def keep(self, ledger_bytes: int) -> None:
        """Take the room that is needed, or as much of it as there is.

        While the disk is full, that is what a checkpoint needs; the rest of the base is free for
        settlements, whose WAL is folded whenever it has filled that.
        `ledger_bytes` is the size that the file will have. Raises OSError.
        """
        needed_bytes = self.check(ledger_bytes)
        self._resize(-(-needed_bytes // _STEP_BYTES) * _STEP_BYTES)

    def check(self, ledger_bytes: int) -> int:
        """Find out whether the disk is full; return the bytes to keep. Raises OSError."""
        use = disk_use(self._ledger)
        growth_bytes = max(0, ledger_bytes - use.file_bytes)  # by the next checkpoint
        needed_bytes = growth_bytes + min(BASE_BYTES, use.disk_bytes // MAX_DISK_PARTS)
        room_bytes = use.free_bytes + size_of(self._path)
        self.is_full = room_bytes < needed_bytes + MIN_FREE_BYTES * (2 if self.is_full else 1)
        return growth_bytes + _STEP_BYTES if self.is_full else needed_bytes

    def _resize(self, size_bytes: int) -> None:
        try:
            descriptor = _opened(self._path)
        except OSError as error:
            log.warning("%s: no room is reserved: %s", self._path, error.strerror)
            return
        try:
            now_bytes = os.fstat(descriptor).st_size
            if now_bytes > size_bytes:
                os.ftruncate(descriptor, size_bytes)
            with contextlib.suppress(OSError):  # the disk is full
                while now_bytes < size_bytes:
                    _allocate(descriptor, now_bytes)
                    now_bytes += _STEP_BYTES
        finally:
            os.close(descriptor)


def _opened(path: Path) -> int:
    """Open the file, or create it. Raises OSError for a link, and a file with other content."""
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK
    descriptor = os.open(path, flags, 0o600)
    found = os.fstat(descriptor)
    if stat.S_ISREG(found.st_mode) and found.st_nlink == 1 and not any(os.read(descriptor, 4096)):
        return descriptor
    os.close(descriptor)
    raise OSError(0, "it is not the reserve of a ledger; remove it")


def _allocate(descriptor: int, at_byte: int) -> None:
    """Take room for one more step of the file. Raises OSError if there is none."""
    if hasattr(os, "posix_fallocate"):  # not on a Mac
        os.posix_fallocate(descriptor, at_byte, _STEP_BYTES)
    else:
        os.pwrite(descriptor, bytes(_STEP_BYTES), at_byte)
