"""A file that lines are added to, which others may rotate, and which may be full or stuck."""

import contextlib
import os
import stat
import time
from collections.abc import Callable
from pathlib import Path

CHECK_EVERY_SECONDS = 1.0
"""How often the file's name is looked at, in case somebody has rotated it."""

RETRY_SECONDS = 0.2
STANDARD_OUTPUT = "-"
_FLAGS = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOCTTY
_MODE = 0o640


def check(path: str) -> None:
    """Raise ValueError if lines cannot be added to this file; the text says why.

    A FIFO is not opened: that would wait for whoever reads it.
    """
    if path == STANDARD_OUTPUT:
        return
    try:
        if not (os.path.lexists(path) and stat.S_ISFIFO(Path(path).stat().st_mode)):
            os.close(os.open(path, _FLAGS, _MODE))
    except OSError as error:
        raise ValueError(f"{path}: cannot be written: {error.strerror}") from None


class LineFile:
    """Adds whole lines, waiting as long as it takes. Belongs to one thread.

    A line that was cut off, because the disk was full, is gone on with, or written whole to
    the file that has come in its place.
    """

    def __init__(self, path: str, tell: Callable[[str], None]) -> None:
        """Open nothing yet. `tell` gets why nothing can be written, and "" when it can again."""
        self._path = path
        self._tell = tell
        self._file: int | None = 1 if path == STANDARD_OUTPUT else None
        self._looked = 0.0
        self._error = ""

    def write(self, lines: bytes) -> None:
        """Write lines, each of which ends."""
        written = 0
        while written < len(lines):
            try:
                if self._rotated():
                    written = lines.rfind(b"\n", 0, written) + 1
                written += os.write(self._opened(), lines[written:])
            except OSError as error:
                self._note(error.strerror or type(error).__name__)
                time.sleep(RETRY_SECONDS)
                self._looked = 0.0
            else:
                self._note("")

    def _opened(self) -> int:
        if self._file is None:
            self._file = os.open(self._path, _FLAGS, _MODE)
        return self._file

    def _rotated(self) -> bool:
        """Let go of the file if another one, or none, has its name by now."""
        now = time.monotonic()
        if self._file is None or self._path == STANDARD_OUTPUT:
            return False
        if now < self._looked + CHECK_EVERY_SECONDS:
            return False
        self._looked = now
        with contextlib.suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(self._file), Path(self._path).stat()):
                return False
        os.close(self._file)
        self._file = None
        return True

    def _note(self, error: str) -> None:
        if error != self._error:
            self._error = error
            self._tell(error)
