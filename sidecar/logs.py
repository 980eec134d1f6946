"""The log: lines leave through a thread, so that nobody waits for whoever reads them."""

import contextlib
import logging
import logging.handlers
import os
import queue
import threading
from collections.abc import Iterator
from contextlib import contextmanager

LINES_AT_MOST = 10_000
"""Lines that wait to be read; more are dropped, and counted."""

FLUSH_SECONDS = 1.0
"""How long the last lines may take when the process ends."""

STANDARD_ERROR = 2
_END = None


class _NeverWaits(logging.handlers.QueueHandler):
    """Queues lines, and counts those for which there is no room."""

    dropped = 0

    def enqueue(self, record: logging.LogRecord) -> None:
        try:
            self.queue.put_nowait(record)
        except queue.Full:
            self.dropped += 1


def _write(line: str) -> None:
    """Write a line past Python's own buffer, whose lock would keep the process from ending."""
    left = f"{line}\n".encode(errors="backslashreplace")
    with contextlib.suppress(OSError):  # nobody reads any more
        while left:
            left = left[os.write(STANDARD_ERROR, left) :]


@contextmanager
def to_standard_error() -> Iterator[None]:
    """Log to standard error while the block runs."""
    lines: queue.Queue[logging.LogRecord | None] = queue.Queue(LINES_AT_MOST)
    handler = _NeverWaits(lines)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s %(message)s"))
    logging.basicConfig(level=logging.INFO, handlers=[handler])

    def write() -> None:
        while (record := lines.get()) is not _END:
            _write(record.getMessage())
            if handler.dropped:
                dropped, handler.dropped = handler.dropped, 0
                _write(f"WARNING {dropped} lines of the log were dropped: nobody read them in time")

    writer = threading.Thread(target=write, name="log", daemon=True)
    writer.start()
    try:
        yield
    finally:
        with contextlib.suppress(queue.Full):  # nobody reads, so nobody misses the rest
            lines.put(_END, timeout=FLUSH_SECONDS)
            writer.join(FLUSH_SECONDS)
