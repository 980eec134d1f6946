"""The marker of a ledger: a small file in another place, which names the ledger that is used.

Where a ledger is gone, a start would make a new one, in which every budget is full. The file that
could tell is the one that is gone. So the marker is outside of the ledger's folder, best on another
disk. It is made at the first start; from then on only the ledger that it names is used.
"""

import logging
import os
import re
from pathlib import Path

from sidecar.files import whole_file
from sidecar.ledger.protocol import LedgerRefusedError

log = logging.getLogger(__name__)

_CONTENT = re.compile(rb"(ledger_[0-9a-f]{32})\n")
_MAX_BYTES = 100


class LedgerMarker:
    """The marker of one ledger."""

    def __init__(self, path: Path, ledger: Path) -> None:
        """Use the file at this path. Raises ValueError if it is in the folder of the ledger."""
        if path.resolve().parent == ledger.resolve().parent:
            raise ValueError(
                f"--ledger-marker {path}: is in the folder of the ledger, and would be gone with"
                " it; give it a place in another folder, best on another disk"
            )
        self._path = path
        self._ledger = ledger

    def check_none(self) -> None:
        """Raise LedgerRefusedError if the marker names a ledger, although there is none."""
        if named := self._named():
            raise LedgerRefusedError(
                f"{self._ledger}: there is no ledger, but {self._path} says that there was one"
                f" ({named}); put it back, or restore a backup. With a new ledger every budget"
                f" is full: if that is meant, remove {self._path}. If another sidecar uses that"
                f" ledger, give each a marker of its own"
            )

    def check(self, ledger_id: str) -> None:
        """Raise LedgerRefusedError if the marker names another ledger; make it if it is missing."""
        named = self._named() or self._create(ledger_id)
        if named != ledger_id:
            raise LedgerRefusedError(
                f"{self._ledger}: is {ledger_id}, but {self._path} says that {named} is used; put"
                f" that back, or restore a backup of it. If this ledger is meant, remove"
                f" {self._path}; if both are used, give each a marker of its own"
            )

    def _create(self, ledger_id: str) -> str:
        """Make the marker; return the ledger that it names: another start may have been first."""
        try:
            self._path.parent.mkdir(exist_ok=True)
            whole_file.create(self._path, f"{ledger_id}\n".encode())
            log.info("%s: a new marker; from now on only this ledger is used", self._path)
        except FileExistsError:
            return self._named()
        except OSError as error:
            raise LedgerRefusedError(f"{self._path}: cannot be written: {error.strerror}") from None
        return ledger_id

    def _named(self) -> str:
        """Return the id in the marker; "" without one."""
        try:
            handle = os.open(self._path, os.O_RDONLY | os.O_NONBLOCK)  # a pipe is not waited for
            try:
                content = os.read(handle, _MAX_BYTES)
            finally:
                os.close(handle)
        except FileNotFoundError:
            if self._path.is_symlink():  # its disk may not be mounted
                raise LedgerRefusedError(f"{self._path}: is a link to nothing") from None
            return ""
        except OSError as error:
            raise LedgerRefusedError(f"{self._path}: cannot be read: {error.strerror}") from None
        found = _CONTENT.fullmatch(content)
        if found is None:
            raise LedgerRefusedError(
                f"{self._path}: is not the marker of a ledger (--ledger-marker); give another"
                " file, or remove it"
            )
        return found[1].decode()
