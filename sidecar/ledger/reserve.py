"""A file beside the ledger that keeps room on the disk, so that a full disk can be left again.

What is in the WAL takes room a second time when it is folded into the file. On a full disk it
could never be, not even after a restart. So the reserve is as large as the file is about to grow,
and a little more; it is freed for a checkpoint, and taken back before calls can use its room.
"""

import contextlib
import logging
import os
import stat
from pathlib import Path

log = logging.getLogger(__name__)

BASE_BYTES = 8 * 2**20
"""What is kept beside the growth that is known: what calls may add between two looks at it."""

MAX_DISK_PARTS = 16
"""On a small disk it is at most this part of the disk."""

_STEP_BYTES = 2**20


class Reserve:
    """The file LEDGER.reserve of zeros. Methods do not raise: less room is kept then."""

    def __init__(self, ledger: Path) -> None:
        """Use the file beside this ledger, whose lock the process has."""
        self._path = Path(f"{ledger}.reserve")

    def free(self) -> None:
        """Give the room back to the disk."""
        if self._path.exists():
            self._resize(0)

    def keep(self, size_bytes: int) -> None:
        """Take this much room, in steps and up to one more; as much of it as there is."""
        self._resize(-(-size_bytes // _STEP_BYTES) * _STEP_BYTES)

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
