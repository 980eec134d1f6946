"""Long reads of a ledger in use, such as a backup, which end before they harm the sidecar.

As long as one transaction reads, SQLite may not fold what was written since into the file: the
WAL grows with every call. So a long read has bounds, and ends itself at them.
"""

import signal
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sidecar.ledger.disk_use import disk_use
from sidecar.ledger.protocol import LedgerRefusedError

MAX_WAL_GROWTH_BYTES = 512 * 2**20
"""How far the WAL may grow during one read."""

MIN_FREE_BYTES = 64 * 2**20
"""What has to stay free on the ledger's disk; half of what is free, if that is less."""

_CHECK_EVERY_STEPS = 100_000
"""Of SQLite's virtual machine: some milliseconds."""


class LongRead:
    """A read on one connection, and why it has to end, if it has to."""

    def __init__(self, connection: sqlite3.Connection, ledger: Path, *, in_use: bool) -> None:
        """Watch the connection to a ledger; one that is not in use needs no bounds."""
        self.why_ended = ""
        self._ledger = ledger
        self._is_bounded = in_use
        use = disk_use(ledger)
        self._max_wal_bytes = use.wal_bytes + MAX_WAL_GROWTH_BYTES
        self._min_free_bytes = min(MIN_FREE_BYTES, use.free_bytes // 2)
        self.watch(connection)

    def watch(self, connection: sqlite3.Connection) -> None:
        """Interrupt the queries of a connection once the read has to end.

        Before SQLite 3.42, a check for damage is interrupted only after each table.
        """
        connection.set_progress_handler(self.has_to_end, _CHECK_EVERY_STEPS)

    def has_to_end(self) -> bool:
        """Whether the process got a signal to end, or the WAL or the disk is at its bound."""
        if self._is_bounded and not self.why_ended:
            use = disk_use(self._ledger)
            if use.wal_bytes > self._max_wal_bytes:
                self.why_ended = f"its WAL has grown to {use.wal_bytes:,} bytes meanwhile"
            elif use.free_bytes < self._min_free_bytes:
                self.why_ended = f"its disk has only {use.free_bytes:,} bytes free"
        return bool(self.why_ended)

    def check(self) -> None:
        """Raise LedgerRefusedError if the read has to end."""
        if self.has_to_end():
            raise LedgerRefusedError(
                f"{self._ledger}: the read was ended: {self.why_ended}; try again later"
            )

    def drop_bounds(self) -> None:
        """Go on without bounds: the transaction is over, and what follows reads a copy."""
        self._is_bounded = False

    def stop(self, *_: object) -> None:
        """End soon, because the process does."""
        self.why_ended = "by a signal"


@contextmanager
def long_read(
    connection: sqlite3.Connection, ledger: Path, *, in_use: bool = True
) -> Iterator[LongRead]:
    """Read a ledger within bounds; in the main thread of a command.

    SIGTERM and SIGINT end the read, so that the block can clean up. Raises LedgerRefusedError
    when the read has to end.
    """
    with bounded_read(connection, ledger, in_use=in_use) as read:
        signals = (signal.SIGTERM, signal.SIGINT)
        handlers = [signal.signal(number, read.stop) for number in signals]
        try:
            yield read
        finally:
            for number, handler in zip(signals, handlers, strict=True):
                signal.signal(number, handler)


@contextmanager
def bounded_read(
    connection: sqlite3.Connection, ledger: Path, *, in_use: bool = True
) -> Iterator[LongRead]:
    """Read a ledger within bounds, in any thread; see `long_read`."""
    read = LongRead(connection, ledger, in_use=in_use)
    try:
        yield read
    except (sqlite3.Error, LedgerRefusedError):
        if read.why_ended:
            read.check()  # an interrupted query does not say why
        raise
    finally:
        connection.set_progress_handler(None, 0)
