"""A bounded queue of lines for a file; when it is full, calls wait or lines are dropped."""

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
"""Lines that have a reserved place, or wait to be written."""

GATHER_SECONDS = 0.02
"""How long lines are collected: a thread that wakes for each would slow decisions."""

FLUSH_SECONDS = 1.0
"""How long a stop waits for the last lines."""


class WhenFull(StrEnum):
    """What happens when the queue is full: calls wait, or lines are dropped."""

    BLOCK = "block"
    DROP = "drop"


class LineQueue:
    """Takes lines on the event loop, and writes them in a thread."""

    def __init__(self, path: str, when_full: WhenFull, max_lines: int = MAX_LINES) -> None:
        """Start the thread. For the running event loop only."""
        self.written = 0
        self.dropped = 0
        self._when_full = when_full
        self._max_lines = max_lines
        self._taken = 0
        self._room = asyncio.Event()
        self._room.set()
        self._lines: deque[bytes] = deque()
        self._more = threading.Event()
        self._loop = asyncio.get_running_loop()
        self._file = LineFile(path, _log_error)
        threading.Thread(target=self._write, name="decision-log", daemon=True).start()

    async def take_room(self) -> None:
        """With `block`, wait for a place in the queue, and reserve it."""
        if self._when_full is WhenFull.BLOCK:
            while self._taken >= self._max_lines:
                self._room.clear()
                await self._room.wait()
            self._taken += 1

    def give_room_back(self) -> None:
        """Release a place reserved by `take_room` that gets no line."""
        if self._when_full is WhenFull.BLOCK:
            self._free(1)

    def admit(self) -> bool:
        """Whether a line has a place: with `block` always, with `drop` if the queue is not full."""
        if self._when_full is WhenFull.DROP:
            if self._taken >= self._max_lines:
                self.dropped += 1
                return False
            self._taken += 1
        return True

    def put(self, line: bytes) -> None:
        """Queue an admitted line."""
        self._lines.append(line)
        self._more.set()

    @property
    def waiting(self) -> int:
        """Lines that are queued, and reserved places."""
        return self._taken

    async def close(self) -> None:
        """Wait briefly for the last lines; log how many could not be written."""
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


def _log_error(error: str) -> None:
    if error:
        log.warning("the decision log cannot be written; retrying: %s", error)
    else:
        log.info("the decision log can be written again")
