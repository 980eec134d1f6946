"""A file that lines are appended to; it may be rotated, and survives a full disk."""

import contextlib
import os
import stat
import time
from collections.abc import Callable
from pathlib import Path

CHECK_EVERY_SECONDS = 1.0
"""Time between two checks whether the file was rotated."""

RETRY_SECONDS = 0.2
STANDARD_OUTPUT = "-"
_FLAGS = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOCTTY
_MODE = 0o640


def check(path: str) -> None:
    """Raise ValueError if this file cannot be appended to; the text says why.

    A FIFO is not opened, which would wait for a reader.
    """
    if path == STANDARD_OUTPUT:
        return
    try:
        if not (os.path.lexists(path) and stat.S_ISFIFO(Path(path).stat().st_mode)):
            os.close(os.open(path, _FLAGS, _MODE))
    except OSError as error:
        raise ValueError(f"{path}: cannot be written: {error.strerror}") from None


class LineFile:
    """Appends whole lines, retrying until it works. For one thread only.

    A line that a full disk cut off is completed, or written again in full to the file
    that replaced it by rotation.
    """

    def __init__(self, path: str, report: Callable[[str], None]) -> None:
        """Prepare a file; `report` gets the error when writing fails, "" when it works again."""
        self._path = path
        self._report = report
        self._file: int | None = 1 if path == STANDARD_OUTPUT else None
        self._checked_at = 0.0
        self._error = ""

    def write(self, lines: bytes) -> None:
        """Write lines, each with its line feed."""
        written = 0
        while written < len(lines):
            try:
                if self._rotated():
                    written = lines.rfind(b"\n", 0, written) + 1
                written += os.write(self._opened(), lines[written:])
            except OSError as error:
                self._note(error.strerror or type(error).__name__)
                time.sleep(RETRY_SECONDS)
                self._checked_at = 0.0
            else:
                self._note("")

    def _opened(self) -> int:
        if self._file is None:
            self._file = os.open(self._path, _FLAGS, _MODE)
        return self._file

    def _rotated(self) -> bool:
        """Close the file if it was renamed or removed; return whether it was."""
        now = time.monotonic()
        if self._file is None or self._path == STANDARD_OUTPUT:
            return False
        if now < self._checked_at + CHECK_EVERY_SECONDS:
            return False
        self._checked_at = now
        with contextlib.suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(self._file), Path(self._path).stat()):
                return False
        os.close(self._file)
        self._file = None
        return True

    def _note(self, error: str) -> None:
        if error != self._error:
            self._error = error
            self._report(error)
