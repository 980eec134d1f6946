"""What fills the disk of a ledger is logged once, with the process that does it."""

import os
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from support import disks
from support.operator_ledger import NOON, OperatorLedger, operator_ledger
from support.reservations import limit

from sidecar.ledger.sqlite import SqliteLedger
from sidecar.runtime.disk_watch import DiskWatch

DISK_BYTES = 8 * 2**20

READER = """
import sqlite3, sys
reader = sqlite3.connect(sys.argv[1], isolation_level=None)
reader.execute("BEGIN")
reader.execute("SELECT count(*) FROM decisions").fetchone()
print("reading", flush=True)
sys.stdin.read()
"""


@contextmanager
def another_process_reads(ledger: Path) -> Iterator[int]:
    """Keep reading a ledger in another process, whose number it is."""
    command = [sys.executable, "-c", READER, str(ledger)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:  # noqa: S603
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stdout.readline() == b"reading\n"
        try:
            yield process.pid
        finally:
            process.stdin.close()


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[OperatorLedger]:
    """A ledger on a small disk."""
    with (
        disks.small_disk(tmp_path / "disk", DISK_BYTES),
        operator_ledger(tmp_path / "disk" / "ledger.sqlite") as ledger,
    ):
        yield ledger


def look(opened: OperatorLedger, watch: DiskWatch, caplog: pytest.LogCaptureFixture) -> list[str]:
    """Look twice, and return what was logged."""
    caplog.set_level("INFO")
    caplog.clear()
    opened.run(watch.look())
    opened.run(watch.look())
    return [record.getMessage() for record in caplog.records]


def test_a_large_wal_is_logged_with_the_process_that_reads(
    opened: OperatorLedger, caplog: pytest.LogCaptureFixture
) -> None:
    """Once, and once more when it is small again; this process is not named."""
    watch = DiskWatch(opened.ledger)
    assert look(opened, watch, caplog) == []
    with another_process_reads(opened.path) as process:
        while Path(f"{opened.path}-wal").stat().st_size < DISK_BYTES // 8:
            opened.hold(NOON, limit(None))
        (line,) = look(opened, watch, caplog)
        assert "grows while a process keeps reading: " in line
        assert f"({process})" in line
        assert f"({os.getpid()})" not in line
    assert opened.ledger.readers() == []
    visitor = sqlite3.connect(opened.path)
    visitor.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    visitor.close()
    assert look(opened, watch, caplog) == ["the ledger's WAL is small again"]


def test_a_disk_that_gets_full_is_logged_at_each_threshold(
    opened: OperatorLedger, caplog: pytest.LogCaptureFixture
) -> None:
    """Below 10 %, below 2 %, and when there is room again."""
    watch = DiskWatch(opened.ledger)
    assert look(opened, watch, caplog) == []
    other = opened.path.with_name("other")
    for percent in (8, 1):
        free_bytes = opened.ledger.disk_use().free_bytes
        with other.open("ab") as stream:
            stream.write(bytes(free_bytes - DISK_BYTES * percent // 100))
        (line,) = look(opened, watch, caplog)
        assert "the ledger's disk is nearly full: " in line
    other.unlink()
    assert look(opened, watch, caplog) == ["the ledger's disk has room again"]


def test_the_reserve_is_as_large_as_what_the_file_is_about_to_grow(opened: OperatorLedger) -> None:
    """The next checkpoint finds its room there, however long a reader has kept it waiting."""
    reserve = Path(f"{opened.path}.reserve")
    opened.run(opened.ledger.keep_reserve())
    base_bytes = reserve.stat().st_size
    assert reserve.stat().st_blocks * 512 == base_bytes > 0
    with another_process_reads(opened.path):
        for _ in range(30):
            opened.hold(NOON, limit(None), role="x" * 60_000)
        opened.run(opened.ledger.keep_reserve())
        assert reserve.stat().st_size >= base_bytes + 30 * 60_000 - 2**20
    opened.run(opened.ledger.close())
    opened.ledger = SqliteLedger(opened.path)
    assert reserve.stat().st_size == 0, "a start needs room, too"


@pytest.mark.parametrize("kind", ["link", "hard link", "content", "pipe"])
def test_another_file_in_the_place_of_the_reserve_is_left_alone(
    kind: str, opened: OperatorLedger, caplog: pytest.LogCaptureFixture
) -> None:
    """A user who may write to the folder could name a file of ours."""
    reserve, victim = Path(f"{opened.path}.reserve"), opened.path.with_name("victim")
    victim.write_text("precious")
    make: dict[str, Callable[[], object]] = {
        "link": lambda: reserve.symlink_to(victim),
        "hard link": lambda: reserve.hardlink_to(victim),
        "content": lambda: reserve.write_text("precious"),
        "pipe": lambda: os.mkfifo(reserve),
    }
    make[kind]()
    opened.run(opened.ledger.keep_reserve())
    assert victim.read_text() == "precious"
    assert "no room is reserved" in caplog.text
    assert kind != "content" or reserve.read_text() == "precious"
