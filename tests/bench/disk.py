"""What a call writes to the ledger's disk, and how long that disk takes for one `fdatasync`."""

import os
import re
import signal
import sqlite3
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from support.tools import MissingError, require

from bench.load import Load
from bench.sidecars import Sidecar

PAGE_BYTES = 4096
PAGES = 256
SYNCS = 200


@dataclass(frozen=True, slots=True)
class Writes:
    """What a call of one load writes; `pwrite64` is None where it was not counted."""

    server: str
    rpc: str
    in_flight: int
    calls: int
    wal_bytes: float
    file_bytes: float
    pwrite64: float | None


def fdatasync_ms(folder: Path) -> float:
    """Return the mean time of one `fdatasync` on this folder's disk, after a page was written.

    The pages are of a file that has them already, as those of a WAL usually are.
    """
    took: list[float] = []
    with tempfile.TemporaryFile(dir=folder, buffering=0) as file:
        file.write(bytes(PAGE_BYTES * PAGES))
        os.fsync(file.fileno())
        for number in range(SYNCS):
            os.pwrite(file.fileno(), os.urandom(PAGE_BYTES), number % PAGES * PAGE_BYTES)
            started = time.perf_counter()
            os.fdatasync(file.fileno())
            took.append((time.perf_counter() - started) * 1000)
    return statistics.fmean(took)


def writes(
    server: Sidecar,
    loads: Sequence[tuple[str, int]],
    calls: int,
    done: Callable[[], object] = lambda: None,
) -> list[Writes]:
    """Measure what calls of some RPCs write, with a number of them in flight."""
    found = []
    for rpc, in_flight in loads:
        load = Load(server, rpc, in_flight, calls)
        wal, file = _bytes(server.ledger, load)
        pwrites = _pwrite64(server.pid, load) if in_flight == 1 else None
        found.append(
            Writes(
                server.name, rpc, in_flight, calls, wal / calls, file / calls,
                None if pwrites is None else pwrites / calls,
            )
        )  # fmt: skip
        done()
    return found


def _bytes(ledger: Path, load: Load) -> tuple[int, int]:
    """Return by how much the WAL grows under a load, and the file with the checkpoint after it."""
    wal = ledger.with_name(f"{ledger.name}-wal")
    with closing(sqlite3.connect(ledger, timeout=60, isolation_level=None)) as connection:
        _checkpoint(connection)
        before = ledger.stat().st_size
        # As long as another connection reads, the WAL is not begun anew: it has all that was
        # written.
        connection.execute("BEGIN")
        connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()
        load.run()
        written = wal.stat().st_size
        connection.execute("COMMIT")
        _checkpoint(connection)
    return written, ledger.stat().st_size - before


def _checkpoint(connection: sqlite3.Connection) -> None:
    (is_busy, _, _) = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    assert not is_busy, "the ledger is in use"


def _pwrite64(pid: int, load: Load) -> int | None:
    """Return how often a process calls `pwrite64` under a load; None without strace."""
    try:
        program = require("strace")
    except MissingError:
        return None
    command = [program, "-f", "-c", "-e", "trace=pwrite64", "-p", str(pid)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as tracing:  # noqa: S603
        assert tracing.stderr is not None
        if "attached" not in tracing.stderr.readline():  # it may not trace other processes
            tracing.kill()
            return None
        load.run()
        tracing.send_signal(signal.SIGINT)
        _, log = tracing.communicate()
    counted = re.search(r"^(?:\s*\S+){3}\s+(\d+)(?:\s+\d+)?\s+pwrite64$", log, re.MULTILINE)
    return int(counted[1]) if counted else 0
