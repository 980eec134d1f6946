"""A real sidecar on a machine whose disk does not answer."""

import signal
import sqlite3
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import pytest
from support.faulty_machine import FaultyMachine
from support.outside import METRICS, page
from support.policies import limit, minimal
from support.sidecar_process import RunningSidecar, chat, eventually, tester

Start = Callable[..., RunningSidecar]


@pytest.fixture
def machine(tmp_path: Path) -> FaultyMachine:
    """A machine without faults yet."""
    return FaultyMachine(tmp_path)


@pytest.fixture
def policies(tmp_path: Path) -> Path:
    """A budget that is never used up."""
    return minimal(tmp_path / "p", daily=limit("100000000", meter="tokens"))


def held(ledger: Path) -> list[str]:
    """Return the request ids of all decisions."""
    connection = sqlite3.connect(ledger)
    found = [
        name for (name,) in connection.execute("SELECT request_id FROM decision_log ORDER BY 1")
    ]
    connection.close()
    return found


@pytest.mark.parametrize("recorded", [False, True])
def test_what_no_caller_waits_for_is_not_decided(
    recorded: bool,
    start_sidecar: Start,
    machine: FaultyMachine,
    policies: Path,
) -> None:
    """With metrics and without: it is not ready while the disk hangs, and ready again later."""
    telemetry = METRICS if recorded else ()
    running = start_sidecar(policies, *telemetry, env=machine.env)
    stub = running.stub

    def ask(name: str, seconds: float = 1) -> str:
        try:
            stub.Authorize(chat(tester(), model="small-1", request_id=name), timeout=seconds)
        except grpc.RpcError as error:
            return str(error.code().name)
        return "OK"

    assert ask("before", 30) == "OK"
    machine.hang_disk()
    with ThreadPoolExecutor(8) as pool:
        waiting = pool.submit(ask, "in the commit", 60)
        eventually(machine.disk_is_awaited)
        gone = list(pool.map(ask, [f"gone {number}" for number in range(6)]))
        assert set(gone) == {"DEADLINE_EXCEEDED"}
        if recorded:
            eventually(lambda: "\nsidecar_ready 0.0" in page(running), 30)
        machine.free_disk()
        assert waiting.result() == "OK"
    assert ask("after", 30) == "OK"
    if recorded:
        eventually(lambda: "\nsidecar_ready 1.0" in page(running))
    assert running.stop() == 0
    assert held(running.ledger) == ["after", "before", "in the commit"]
    assert not recorded or "not ready: the disk does not answer" in running.log


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_start_ends_although_the_disk_hangs(
    number: signal.Signals, start_sidecar: Start, machine: FaultyMachine, policies: Path
) -> None:
    """By the signal itself, as there is nothing to finish; the next start goes on."""
    running = start_sidecar(policies, env=machine.env)
    assert running.stop() == 0
    running.ledger.unlink()
    machine.hang_disk()
    with ThreadPoolExecutor(1) as pool:
        start = pool.submit(running.restart)
        eventually(machine.disk_is_awaited, 30)
        assert running.process is not None
        running.process.send_signal(number)
        try:
            assert isinstance(start.exception(30), AssertionError)  # it did not start
        finally:
            machine.free_disk()
    assert running.stop() == -number
    assert running.restart().stub.Authorize(chat(tester(), model="small-1")).hold_id


def test_a_stop_ends_although_the_disk_hangs(
    start_sidecar: Start, machine: FaultyMachine, policies: Path
) -> None:
    """Exit code 1, and a line that says why; what was answered is there after the restart."""
    running = start_sidecar(policies, "--grace-seconds", "0", env=machine.env)
    call = chat(tester(), model="small-1", request_id="before")
    hold = running.stub.Authorize(call).hold_id
    machine.hang_disk()
    with pytest.raises(grpc.RpcError):
        running.stub.Authorize(chat(tester(), model="small-1"), timeout=1)
    assert running.stop() == 1
    assert "ends without closing the ledger" in running.log
    machine.free_disk()
    again = running.restart().stub.Authorize(call)
    assert (again.hold_id, again.replayed) == (hold, True)
