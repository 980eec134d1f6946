"""The log of the process, written by a thread, so that a slow reader delays no call."""

import contextlib
import json
import logging
import logging.handlers
import os
import queue
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from enum import StrEnum
from threading import Thread

MAX_LINES = 10_000
"""Lines that wait to be written; more are dropped, and counted."""

FLUSH_SECONDS = 1.0
"""How long the process waits for the last lines when it ends."""

STANDARD_ERROR = 2
_END = None

Lines = queue.Queue[logging.LogRecord | None]
"""Lines that wait to be written; None ends them."""


class LogFormat(StrEnum):
    """The format of a line of the log."""

    TEXT = "text"
    JSON = "json"


class _Json(logging.Formatter):
    """Formats a record as one line of JSON, with the members of its `fields`."""

    def format(self, record: logging.LogRecord) -> str:
        line = {
            "ts": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
            **getattr(record, "fields", {}),
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        if record.stack_info:
            line["stack"] = record.stack_info
        # Not every JSON parser accepts the escape of half a surrogate pair.
        return json.dumps(line, ensure_ascii=False, default=repr).encode(errors="replace").decode()


_FORMATTERS = {
    LogFormat.TEXT: logging.Formatter("%(asctime)s %(levelname)s %(name)s %(message)s"),
    LogFormat.JSON: _Json(),
}


class _DroppingQueueHandler(logging.handlers.QueueHandler):
    """Queues records, and counts those dropped because the queue is full."""

    dropped = 0
    reported = 0

    def enqueue(self, record: logging.LogRecord) -> None:
        try:
            self.queue.put_nowait(record)
        except queue.Full:
            self.dropped += 1


def _write(line: str) -> None:
    """Write a line without Python's buffer, whose lock could keep the process from ending."""
    left = f"{line}\n".encode(errors="backslashreplace")
    with contextlib.suppress(OSError):  # the reader is gone
        while left:
            left = left[os.write(STANDARD_ERROR, left) :]


class Log:
    """The log of this process, as metrics see it."""

    def __init__(self, handler: _DroppingQueueHandler, lines: Lines, writer: Thread) -> None:
        """Report on the lines of this handler, which the thread takes from a queue and writes."""
        self._handler = handler
        self._lines = lines
        self._writer = writer

    @property
    def dropped(self) -> int:
        """How many lines were dropped because they were not read in time."""
        return self._handler.dropped

    def close(self) -> None:
        """Wait briefly for the last lines."""
        with contextlib.suppress(queue.Full):  # the reader is stuck, so the rest is lost
            self._lines.put(_END, timeout=FLUSH_SECONDS)
            self._writer.join(FLUSH_SECONDS)


def _dropped_record(lines: int) -> logging.LogRecord:
    text = "%d lines of the log were dropped: they were not read in time"
    return logging.LogRecord(__name__, logging.WARNING, __file__, 0, text, (lines,), None)


@contextmanager
def to_standard_error(log_format: LogFormat = LogFormat.TEXT) -> Iterator[Log]:
    """Log to standard error while the block runs."""
    lines: Lines = queue.Queue(MAX_LINES)
    handler = _DroppingQueueHandler(lines)
    handler.setFormatter(_FORMATTERS[log_format])
    logging.basicConfig(level=logging.INFO, handlers=[handler])

    def write() -> None:
        while (record := lines.get()) is not _END:
            _write(record.getMessage())
            if (dropped := handler.dropped) > handler.reported:
                _write(handler.format(_dropped_record(dropped - handler.reported)))
                handler.reported = dropped

    writer = Thread(target=write, name="log", daemon=True)
    writer.start()
    log = Log(handler, lines, writer)
    try:
        yield log
    finally:
        log.close()
