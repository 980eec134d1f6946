"""The log: lines leave through a thread, so that nobody waits for whoever reads them."""

import contextlib
import json
import logging
import logging.handlers
import os
import queue
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from enum import StrEnum

MAX_LINES = 10_000
"""Lines that wait to be read; more are dropped, and counted."""

FLUSH_SECONDS = 1.0
"""How long the last lines may take when the process ends."""

STANDARD_ERROR = 2
_END = None


class LogFormat(StrEnum):
    """How a line of the log is written."""

    TEXT = "text"
    JSON = "json"


class _Json(logging.Formatter):
    """Writes a record as one line of JSON, with what it has under `fields` beside the message."""

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
        # Half of a surrogate pair is no text; not every reader of JSON takes its escape.
        return json.dumps(line, ensure_ascii=False, default=repr).encode(errors="replace").decode()


_FORMATTERS = {
    LogFormat.TEXT: logging.Formatter("%(asctime)s %(levelname)s %(name)s %(message)s"),
    LogFormat.JSON: _Json(),
}


class _NeverWaits(logging.handlers.QueueHandler):
    """Queues lines, and counts those for which there is no room."""

    dropped = 0
    told = 0

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


class Log:
    """The log of this process, for whoever measures."""

    def __init__(self, handler: _NeverWaits) -> None:
        """Tell of what this handler queues."""
        self._handler = handler

    @property
    def dropped(self) -> int:
        """How many lines nobody read in time."""
        return self._handler.dropped


def _about_dropped(lines: int) -> logging.LogRecord:
    text = "%d lines of the log were dropped: nobody read them in time"
    return logging.LogRecord(__name__, logging.WARNING, __file__, 0, text, (lines,), None)


@contextmanager
def to_standard_error(log_format: LogFormat = LogFormat.TEXT) -> Iterator[Log]:
    """Log to standard error while the block runs."""
    lines: queue.Queue[logging.LogRecord | None] = queue.Queue(MAX_LINES)
    handler = _NeverWaits(lines)
    handler.setFormatter(_FORMATTERS[log_format])
    logging.basicConfig(level=logging.INFO, handlers=[handler])

    def write() -> None:
        while (record := lines.get()) is not _END:
            _write(record.getMessage())
            if (dropped := handler.dropped) > handler.told:
                _write(handler.format(_about_dropped(dropped - handler.told)))
                handler.told = dropped

    writer = threading.Thread(target=write, name="log", daemon=True)
    writer.start()
    try:
        yield Log(handler)
    finally:
        with contextlib.suppress(queue.Full):  # nobody reads, so nobody misses the rest
            lines.put(_END, timeout=FLUSH_SECONDS)
            writer.join(FLUSH_SECONDS)
