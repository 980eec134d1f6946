"""A real sidecar on a machine whose clock jumps."""

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import grpc
import pytest
from ledger.conftest import LedgerHarness
from mistral_spend.v1 import authorization_pb2 as pb
from support.commands import sidecar as command
from support.faulty_machine import FaultyMachine
from support.outside import METRICS, page
from support.policies import limit, minimal
from support.reservations import reservation
from support.sidecar_process import RunningSidecar, chat, error_info, eventually, tester

from sidecar.domain.clock import DAY_US, to_us
from sidecar.ledger.sqlite import SqliteLedger

Start = Callable[..., RunningSidecar]

YEAR_SECONDS = 365 * 86_400


def test_a_clock_that_jumps_a_year_ahead_decides_nothing_and_closes_no_window(
    start_sidecar: Start, tmp_path: Path
) -> None:
    """L9: it is not ready and says why; a hold can be settled; once it is back, all goes on."""
    machine = FaultyMachine(tmp_path)
    policies = minimal(tmp_path / "p", minute=limit("1000", window="minute"))
    admin = f"unix:{tmp_path}/admin"
    running = start_sidecar(policies, "--admin-listen", admin, *METRICS, env=machine.env)
    stub = running.stub
    hold = stub.Authorize(chat(tester(), model="small-1")).hold_id
    machine.jump(YEAR_SECONDS)
    with pytest.raises(grpc.RpcError) as caught:
        stub.Authorize(chat(tester(), model="small-1"))
    assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
    assert error_info(caught.value).reason == "CLOCK_JUMPED"
    eventually(lambda: "\nsidecar_ready 0.0" in page(running))
    assert "\nsidecar_ledger_ahead_of_clock_seconds -3153" in page(running)
    code, out, _ = command("status", "--admin", admin)
    assert (code, "not ready: the system's clock is 364 days ahead of the time" in out) == (1, True)
    assert "s behind the system's clock" in out
    settled = stub.Settle(pb.SettleRequest(hold_id=hold))
    assert settled.charged_cost_nano_usd
    machine.jump(0)
    eventually(lambda: "\nsidecar_ready 1.0" in page(running))
    assert stub.Authorize(chat(tester(), model="small-1")).hold_id
    running.stop()
    assert "not ready: the system's clock is" in running.log
    assert "ready again" in running.log


def test_a_start_with_a_clock_far_ahead_needs_the_day(start_sidecar: Start, tmp_path: Path) -> None:
    """L9: neither `serve` nor `ledger prune` touches a ledger that looks two months old."""
    ledger, policies = tmp_path / "ledger.sqlite", minimal(tmp_path / "p")
    now_us = to_us(datetime.now(UTC))
    harness = LedgerHarness(SqliteLedger, ledger)
    harness.run(harness.ledger.decide(reservation(now_us - 60 * DAY_US)))
    harness.run(harness.ledger.decide(reservation(now_us - 59 * DAY_US)))
    harness.close()
    today = f"{datetime.now(UTC):%Y-%m-%d}"
    serve = ("serve", "--policies", policies, "--listen", "127.0.0.1:0")
    for args in (serve, ("ledger", "prune")):
        code, _, err = command(*args, "--ledger", ledger)
        assert code == 1
        assert f"--confirm-clock {today}" in " ".join(err.split())
    running = start_sidecar(policies, "--confirm-clock", today)
    assert running.stub.Authorize(chat(tester(), model="small-1")).hold_id
    assert running.stop() == 0
    code, out, err = command("ledger", "prune", "--ledger", ledger)
    assert (code, "deleted" in out) == (0, True), err


def test_a_ledger_that_a_wrong_clock_moved_ahead_is_set_back(
    start_sidecar: Start, tmp_path: Path
) -> None:
    """L9: after `ledger set-time` calls are decided by the right time; no budget is given twice."""
    machine = FaultyMachine(tmp_path)
    policies = minimal(
        tmp_path / "p", minute=limit("1", window="minute"), ever=limit("2", window="total")
    )
    machine.jump(20 * 86_400)
    admin = f"unix:{tmp_path}/admin"
    running = start_sidecar(policies, "--admin-listen", admin, env=machine.env)
    assert running.stub.Authorize(chat(tester(), model="small-1")).hold_id
    running.stop()
    machine.jump(0)
    running = running.restart()
    assert not running.stub.Authorize(chat(tester(), model="small-1")).hold_id
    _, out, _ = command("status", "--admin", admin)
    assert "days ahead of the system's clock: if that is right, `sidecar ledger set-time`" in out
    running.stop()
    assert "sidecar ledger set-time" in running.log
    signed = ("--signed-by", "ada@example.com", "--reason", "a wrong clock")
    code, _, err = command("ledger", "set-time", "--yes", *signed, "--ledger", running.ledger)
    assert code == 0, err
    running = running.restart()
    assert running.stub.Authorize(chat(tester(), model="small-1")).hold_id
    denied = running.stub.Authorize(chat(tester(), model="small-1"))
    assert {reason.rule for reason in denied.reasons} == {"minute", "ever"}
    running.stop()
    assert command("ledger", "verify", "--ledger", running.ledger)[0] == 0


def test_retry_times_are_by_the_systems_clock(start_sidecar: Start, tmp_path: Path) -> None:
    """A ledger that a clock of tomorrow wrote: its minute ends a day later than it seems."""
    machine = FaultyMachine(tmp_path)
    policies = minimal(tmp_path / "p", minute=limit("1", window="minute"))
    machine.jump(86_400)
    running = start_sidecar(policies, env=machine.env)
    assert running.stub.Authorize(chat(tester(), model="small-1")).hold_id
    running.stop()
    machine.jump(0)
    refused = running.restart().stub.Authorize(chat(tester(), model="small-1"))
    assert not refused.hold_id
    assert 86_000 < refused.retry_after.seconds < 87_000
    running.stop()
    assert "behind the ledger's last entry" in running.log
