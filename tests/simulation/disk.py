"""A simulated disk: faults of commits, and the content of files after a crash."""

import itertools
import resource
import sqlite3
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

from simulation.loop import SimulatedLoop

CRASH_BEFORE = "crash before the commit"
CRASH_DURING = "crash during the commit, torn writes"
CRASH_AFTER = "crash after the commit, no answer"
WRITE_ERROR = "write error after a short write"
DISK_FULL = "disk full"
FAULTS = [CRASH_BEFORE, CRASH_DURING, CRASH_AFTER, WRITE_ERROR, DISK_FULL]

SECTOR_BYTES = 512
ANY_PAGES = 2**30
FULL = 2
"""PRAGMA synchronous: a commit is flushed to the disk before it returns."""

Files = dict[str, bytes]
"""A database: its files by the ends of their names, without the shared-memory index."""


class CrashedError(Exception):
    """The process has crashed; `files` are the content that the next one finds."""

    def __init__(self, files: Files) -> None:
        """Keep the files."""
        super().__init__("the process has crashed")
        self.files = files


class Disk:
    """Commits with faults, which the seed determines."""

    def __init__(self, loop: SimulatedLoop, rate: float) -> None:
        """Fail this share of the commits, from 0 to 1."""
        self._loop = loop
        self.rate = rate
        self.faults: Counter[str] = Counter()

    def commit(self, path: Path, commit: partial[Any]) -> Any:
        """Commit. Raises sqlite3.Error or CrashedError for a fault.

        Other work of the thread, which makes room after an error, has none.
        """
        if commit.args != ("COMMIT",) or not self._loop.maybe(self.rate):
            return commit()
        fault, before = self._loop.random.choice(FAULTS), read(path)
        if fault == WRITE_ERROR:
            return self._commit_with_short_write(len(before["-wal"]), commit)
        self._inject(fault)
        if fault == CRASH_BEFORE:
            raise CrashedError(before)
        answer, connection = commit(), commit.func.__self__  # type: ignore[attr-defined]
        if fault == DISK_FULL:  # for a while the file cannot grow
            connection.execute("PRAGMA max_page_count = 1")
            self._loop.call_later(self._loop.random.uniform(0, 3), self._make_room, connection)
            return answer
        after = read(path)
        if fault == CRASH_DURING:
            (synchronous,) = connection.execute("PRAGMA synchronous").fetchone()
            flushed = before["-wal"] if synchronous >= FULL else b""
            after["-wal"] = self._torn(flushed, after["-wal"])
        raise CrashedError(after)

    def _make_room(self, connection: sqlite3.Connection) -> None:
        with suppress(sqlite3.ProgrammingError):  # closed since
            connection.execute(f"PRAGMA max_page_count = {ANY_PAGES}")

    def _inject(self, fault: str) -> None:
        self.faults[fault] += 1
        self._loop.note(f"disk: {fault}")

    def _commit_with_short_write(self, wal_bytes: int, commit: partial[Any]) -> Any:
        """Commit with a limit of the file size, at which the kernel cuts a write short."""
        limit = self._loop.random.randrange(wal_bytes // 2, wal_bytes + 20_000)
        try:
            with _no_file_beyond(limit):
                return commit()
        except sqlite3.Error:
            self._inject(WRITE_ERROR)
            raise

    def _torn(self, before: bytes, after: bytes) -> bytes:
        """Return a file after torn writes: only some of the last written bytes are on disk."""
        sectors = [slice(at, at + SECTOR_BYTES) for at in range(0, len(after), SECTOR_BYTES)]
        written = [sector for sector in sectors if before[sector] != after[sector]]
        if written and self._loop.maybe(0.5):  # written in order, up to a random byte
            pairs = zip(before[written[0]], after[written[0]], strict=False)
            kept = len(list(itertools.takewhile(lambda pair: pair[0] == pair[1], pairs)))
            return after[: self._loop.random.randint(written[0].start + kept, len(after))]
        torn = bytearray(after)  # written in any order
        for sector in written:
            if self._loop.maybe(0.2):
                torn[sector] = before[sector].ljust(len(after[sector]), b"\0")
        return bytes(torn)


def read(path: Path) -> Files:
    """Return the current content of a database's files."""
    found = {end: Path(f"{path}{end}") for end in ("", "-wal")}
    return {end: file.read_bytes() if file.exists() else b"" for end, file in found.items()}


@contextmanager
def _no_file_beyond(size_bytes: int) -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
