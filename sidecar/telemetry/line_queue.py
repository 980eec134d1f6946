"""Lines on their way to a file: a bounded queue, with a stated choice of what if it is full."""

import asyncio
import contextlib
import logging
import threading
import time
from collections import deque
from enum import StrEnum

from sidecar.telemetry.line_file import LineFile

log = logging.getLogger(__name__)

MAX_LINES = 4096
"""Lines that are promised room, or wait to be written."""

GATHER_SECONDS = 0.02
"""How long a line waits for others: a thread that wakes for each would slow decisions."""

FLUSH_SECONDS = 1.0
"""How long the last lines may take when the sidecar stops."""


class WhenFull(StrEnum):
    """What becomes of calls when the queue is full."""

    BLOCK = "block"
    DROP = "drop"


class LineQueue:
    """Takes lines on the event loop, and writes them in a thread of its own."""

    def __init__(self, path: str, when_full: WhenFull, at_most: int = MAX_LINES) -> None:
        """Begin to write. Belongs to the running event loop."""
        self.written = 0
        self.dropped = 0
        self._when_full = when_full
        self._at_most = at_most
        self._taken = 0
        self._room = asyncio.Event()
        self._room.set()
        self._lines: deque[bytes] = deque()
        self._more = threading.Event()
        self._loop = asyncio.get_running_loop()
        self._file = LineFile(path, _tell)
        threading.Thread(target=self._write, name="decision-log", daemon=True).start()

    async def take_room(self) -> None:
        """With `block`, wait until there is room for one line, and take it."""
        if self._when_full is WhenFull.BLOCK:
            while self._taken >= self._at_most:
                self._room.clear()
                await self._room.wait()
            self._taken += 1

    def give_room_back(self) -> None:
        """Give back what `take_room` took: there will be no line."""
        if self._when_full is WhenFull.BLOCK:
            self._free(1)

    def admit(self) -> bool:
        """Whether a line can be put: with `block` there is room for it; else there may be none."""
        if self._when_full is WhenFull.DROP:
            if self._taken >= self._at_most:
                self.dropped += 1
                return False
            self._taken += 1
        return True

    def put(self, line: bytes) -> None:
        """Write a line, which has been admitted, some time soon."""
        self._lines.append(line)
        self._more.set()

    @property
    def waiting(self) -> int:
        """Lines that are not written yet, or for which there is room."""
        return self._taken

    async def close(self) -> None:
        """Give the last lines a moment; what is stuck is left behind, and counted in the log."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(FLUSH_SECONDS):
                while self._taken:
                    self._room.clear()
                    await self._room.wait()
        if self._taken:
            log.warning("%d lines of the decision log were not written", self._taken)

    def _write(self) -> None:
        while True:
            self._more.wait()
            time.sleep(GATHER_SECONDS)
            self._more.clear()
            lines = [self._lines.popleft() for _ in range(len(self._lines))]
            self._file.write(b"".join(lines))
            try:
                self._loop.call_soon_threadsafe(self._done, len(lines))
            except RuntimeError:  # the sidecar has stopped
                return

    def _done(self, lines: int) -> None:
        self.written += lines
        self._free(lines)

    def _free(self, lines: int) -> None:
        self._taken -= lines
        self._room.set()


def _tell(error: str) -> None:
    if error:
        log.warning("the decision log cannot be written, and is tried again: %s", error)
    else:
        log.info("the decision log is written again")
