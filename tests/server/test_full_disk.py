"""A ledger on a small, real file system that gets full: it recovers, and nothing is lost."""

import asyncio
import os
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from datetime import UTC, datetime
from pathlib import Path

import grpc
import pytest
from mistral_spend.v1 import authorization_pb2 as pb
from support import disks
from support.commands import sidecar as command
from support.operator_ledger import DAY, HOUR, OperatorLedger, operator_ledger
from support.outside import HEALTH, METRICS, address, page
from support.policies import limit, minimal
from support.reservations import reservation, settlement
from support.sidecar_process import RunningSidecar, chat, eventually, tester

from sidecar.domain.clock import to_us

Start = Callable[..., RunningSidecar]

DISK_BYTES = 12 * 2**20
LARGER_DISK_BYTES = 64 * 2**20
OLD_DECISIONS = 3000
"""Pruning these takes more room in the WAL than a full disk of that size has left for it."""


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A file system with room for a few hundred calls."""
    with disks.small_disk(tmp_path / "disk", DISK_BYTES):
        yield tmp_path / "disk"


class FullDisk:
    """A sidecar whose disk gets full, and the holds that it has answered with."""

    def __init__(self, start: Start, disk: Path, folder: Path) -> None:
        """Start it on a budget that is never used up."""
        policies = minimal(folder / "p", daily=limit("100000000", meter="tokens"))
        self.admin = f"unix:{folder / 'admin.sock'}"
        self.running = start(
            policies, *HEALTH, *METRICS, "--admin-listen", self.admin, ledger=disk / "ledger.sqlite"
        )
        self.held: list[str] = []
        self._stub = self.running.stub

    def kill(self) -> None:
        """Kill it, and start it again."""
        assert self.running.process is not None
        self.running.process.kill()
        self.running.stop()
        self.restart()

    def restart(self) -> None:
        """Start it again."""
        self._stub = self.running.restart().stub

    @property
    def ledger(self) -> Path:
        """The ledger's file."""
        return self.running.ledger

    def call(self) -> bool:
        """Make a call; return whether it was decided."""
        try:
            answer = self._stub.Authorize(chat(tester(), model="small-1"))
        except grpc.RpcError as error:
            if error.code() is not grpc.StatusCode.UNAVAILABLE:
                raise
            return False
        self.held.append(answer.hold_id)
        return True

    def fill(self) -> None:
        """Make calls until none is decided any more, though the WAL is folded every second."""
        failures = 0
        for _ in range(5000):
            failures = 0 if self.call() else failures + 1
            if failures == 20:
                return
            time.sleep(0.15 if failures else 0)
        raise AssertionError("the disk does not get full")

    def settle_and_release(self) -> None:
        """Settle every other hold, and release the others."""
        usage = pb.Usage(input_tokens=7, output_tokens=5)
        for settled, released in zip(self.held[::2], self.held[1::2], strict=False):
            assert self._stub.Settle(pb.SettleRequest(hold_id=settled, usage=usage)).charged_tokens
            assert self._stub.Release(pb.ReleaseRequest(hold_id=released)).budgets

    def is_ready(self) -> bool:
        """Whether probes are told so."""
        where = address(self.running, "health")
        return command("healthz", "--address", where, "--service", "readiness")[0] == 0

    def check_nothing_is_lost(self) -> None:
        """Stop it, and compare its ledger with what was answered."""
        assert self.call()
        assert self.running.stop() == 0
        with closing(sqlite3.connect(self.ledger)) as connection:
            found = {hold for (hold,) in connection.execute("SELECT hold_id FROM holds")}
        assert found >= set(self.held)
        code, out, _ = command("ledger", "verify", "--ledger", self.ledger)
        assert (code, "clean" in out) == (0, True)


@pytest.fixture
def full(start_sidecar: Start, disk: Path, tmp_path: Path) -> FullDisk:
    """A sidecar on a small disk."""
    return FullDisk(start_sidecar, disk, tmp_path)


def fill_with(other: Path) -> None:
    """Write a file of another program until the disk has no room."""
    with suppress(OSError), other.open("wb", buffering=0) as stream:
        while stream.write(bytes(65_536)):
            pass


def write_old_decisions(opened: OperatorLedger) -> None:
    """Write settled calls of two months ago, and one of this hour, which is kept."""
    now_us = to_us(datetime.now(UTC))

    async def call() -> None:
        at_us = now_us - 60 * DAY
        decision = await opened.ledger.decide(reservation(at_us))
        await opened.ledger.settle(decision.hold_id, settlement(at_us, 10))

    async def calls() -> None:
        await asyncio.gather(*(call() for _ in range(100)))

    for _ in range(OLD_DECISIONS // 100):
        opened.run(calls())
    opened.hold(now_us - HOUR)


def kept_reading(ledger: Path) -> sqlite3.Connection:
    """Begin to read a ledger in this process, and do not end."""
    reader = sqlite3.connect(ledger, isolation_level=None)
    reader.execute("BEGIN")
    reader.execute("SELECT count(*) FROM decisions").fetchone()
    return reader


def test_a_disk_that_another_program_filled_is_left_when_it_has_room_again(
    full: FullDisk, disk: Path
) -> None:
    """L4: unavailable and not ready meanwhile, and ready again without a restart."""
    assert full.call()
    eventually((disk / "ledger.sqlite.reserve").exists)
    other = disk / "other"
    fill_with(other)
    full.fill()
    eventually(lambda: not full.is_ready())
    other.unlink()
    eventually(full.is_ready)
    full.check_nothing_is_lost()


@pytest.mark.parametrize("restarts", [False, True], ids=["serving on", "restarted"])
def test_a_full_disk_has_room_for_settlements_releases_and_prunings(
    full: FullDisk, disk: Path, *, restarts: bool
) -> None:
    """Decisions get none of the room that is kept for these; a repeat gets its answer (L3)."""
    once = chat(tester(), model="small-1", request_id="once")
    decided = full.running.stub.Authorize(once)
    eventually((disk / "ledger.sqlite.reserve").exists)
    assert [full.call() for _ in range(40)] == [True] * 40
    other = disk / "other"
    fill_with(other)
    full.fill()
    if restarts:
        full.kill()
        full.fill()
    repeated = full.running.stub.Authorize(once)
    assert (repeated.hold_id, repeated.replayed) == (decided.hold_id, True)
    with pytest.raises(grpc.RpcError, match="ALREADY_EXISTS"):
        full.running.stub.Authorize(chat(tester(), model="large-1", request_id="once"))
    full.settle_and_release()
    assert not any(full.call() for _ in range(20))
    assert not full.is_ready()
    assert full.running.stop() == 0
    code, out, err = command("ledger", "prune", "--ledger", full.ledger)
    assert code == 0, out + err
    other.unlink()
    full.restart()
    full.check_nothing_is_lost()


def test_old_decisions_are_pruned_while_the_disk_is_full(
    start_sidecar: Start, tmp_path: Path
) -> None:
    """Also more of them than the room that is kept has a WAL for."""
    disk = tmp_path / "disk"
    with disks.small_disk(disk, LARGER_DISK_BYTES):
        ledger = disk / "ledger.sqlite"
        with operator_ledger(ledger) as opened:
            write_old_decisions(opened)
        running = start_sidecar(minimal(tmp_path / "p"), "--retention-days", "365", ledger=ledger)
        eventually(Path(f"{ledger}.reserve").exists)
        fill_with(disk / "other")
        assert running.stop() == 0
        code, out, err = command("ledger", "prune", "--ledger", ledger)
        assert (code, "3,000 decisions deleted" in out) == (0, True), out + err
        code, out, _ = command("ledger", "verify", "--ledger", ledger)
        assert (code, "1 decision," in out, "clean" in out) == (0, True, True), out


@pytest.mark.parametrize("restarts", [False, True], ids=["serving on", "restarted"])
def test_a_disk_that_a_reader_filled_is_left_when_it_ends(
    full: FullDisk, *, restarts: bool
) -> None:
    """L4: the WAL has the disk to itself; the reserve is the room to fold it into the file."""
    assert full.call()
    eventually(Path(f"{full.ledger}.reserve").exists)
    reader = kept_reading(full.ledger)
    full.fill()
    eventually(lambda: not full.is_ready())
    code, out, err = command("status", "--admin", full.admin)
    assert (code, f"({os.getpid()})" in out, "not ready: " in out) == (1, True, True), err
    reader.close()
    if restarts:
        full.kill()
    eventually(full.is_ready)
    full.check_nothing_is_lost()


def test_a_reader_that_ends_is_named_no_more_and_its_room_is_in_the_metrics(full: FullDisk) -> None:
    """The size of the file, of its WAL, and what is free."""
    reader = kept_reading(full.ledger)
    assert full.call()

    def shown(name: str) -> int:
        text = page(full.running)
        return int(float(text.partition(f"\nsidecar_ledger_{name} ")[2].partition("\n")[0]))

    sizes = (full.ledger.stat().st_size, Path(f"{full.ledger}-wal").stat().st_size)
    assert (shown("file_bytes"), shown("wal_bytes")) == sizes
    assert 0 < shown("disk_free_bytes") < DISK_BYTES
    assert f"({os.getpid()})" in command("status", "--admin", full.admin)[1]
    reader.close()
    assert "read by" not in command("status", "--admin", full.admin)[1]


@pytest.mark.parametrize(
    "work",
    [
        ("compact",),
        ("set-time", "--signed-by", "ada@example.com", "--reason", "a test", "--yes"),
        ("prune", "--retention-days", "1"),
    ],
    ids=lambda work: work[0],
)
def test_commands_without_a_sidecar_use_the_room_of_its_reserve(
    full: FullDisk, disk: Path, work: tuple[str, ...]
) -> None:
    """On a disk that another program filled."""
    assert full.call()
    eventually((disk / "ledger.sqlite.reserve").exists)
    assert full.running.stop() == 0
    other = disk / "other"
    with suppress(OSError), other.open("wb", buffering=0) as stream:
        while stream.write(bytes(4096)):
            pass
    code, out, error = command("ledger", *work, "--ledger", full.ledger)
    assert code == 0, out + error
    other.unlink()
    full.restart()
    full.check_nothing_is_lost()


def test_a_start_on_a_disk_without_any_room_says_so(full: FullDisk, disk: Path) -> None:
    """Not that a backup has to be restored, which would need room, too."""
    assert full.call()
    assert full.running.stop() == 0
    Path(f"{full.ledger}.reserve").unlink()
    other = disk / "other"
    with suppress(OSError), other.open("wb", buffering=0) as stream:
        while stream.write(bytes(4096)):
            pass
    policies = disk.parent / "p"
    serve = ("serve", "--policies", policies, "--listen", "127.0.0.1:0", "--ledger", full.ledger)
    Path(f"{full.ledger}.lock").unlink()  # as of a ledger that was copied there
    for start in (serve, ("ledger", "compact", "--ledger", full.ledger)):
        code, _, error = command(*start)
        assert (code, "its disk is full: 0 bytes are free" in error, "Traceback" in error) == (
            1,
            True,
            False,
        ), error
    other.unlink()
    full.restart()
    full.check_nothing_is_lost()
