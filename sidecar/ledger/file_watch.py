"""Watches whether the files of a ledger in use are still in their places."""

import os
from pathlib import Path

from sidecar.ledger.protocol import LedgerUnavailableError

_Identity = tuple[int, int]
"""The device and the inode of a file."""


class FileWatch:
    """The identities of a ledger's files, as they were when it was opened.

    A process keeps its open files when they are moved, deleted or replaced. What it wrote to
    them then would be gone after its next start (L4), and a lock that was deleted lets a second
    writer in.
    """

    def __init__(self, path: Path, ledger: Path) -> None:
        """Watch a ledger that is open, by the path that was given and by the real one."""
        self._files = {
            "the ledger": path.absolute(),
            "the ledger's WAL": Path(f"{ledger}-wal"),
            "the ledger's lock": Path(f"{ledger}.lock"),
        }
        self._identities = {what: _identity(file) for what, file in self._files.items()}

    def problem(self) -> str:
        """Return what is out of its place; empty if nothing is."""
        for what, file in self._files.items():
            if _identity(file) != self._identities[what]:
                return (
                    f"{what} was moved, deleted or replaced while in use; put the same file back,"
                    " or stop the sidecar and restore a backup"
                )
        return ""

    def check(self) -> None:
        """Raise LedgerUnavailableError if a file is out of its place."""
        if problem := self.problem():
            raise LedgerUnavailableError(problem)


def _identity(file: Path) -> _Identity | None:
    """Return the identity of a file; None if it cannot be found."""
    try:
        found = os.stat(file)  # noqa: PTH116 - for each commit, and a third of Path.stat's time
    except OSError:
        return None
    return found.st_dev, found.st_ino
