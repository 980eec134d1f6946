"""L1 under real concurrency, and L4 under signals and full disks; kill -9 is in tests/crashes."""

import json
import resource
import signal
import sqlite3
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import pytest
from mistral_spend.v1 import authorization_pb2 as pb
from support.commands import sidecar as command
from support.policies import deny, limit, minimal, shipped
from support.sidecar_process import RunningSidecar, chat, error_info, eventually, stub, tester

Start = Callable[..., RunningSidecar]


def verify(ledger: Path) -> None:
    """Run `sidecar ledger verify`, which has to be clean."""
    code, out, err = command("ledger", "verify", "--ledger", ledger)
    assert (code, "clean" in out) == (0, True), out + err


def rows(ledger: Path, sql: str) -> list[tuple[Any, ...]]:
    """Query the ledger file."""
    connection = sqlite3.connect(f"file:{ledger}?mode=ro", uri=True)
    found = connection.execute(sql).fetchall()
    connection.close()
    return found


def test_an_unread_log_delays_no_call(start_sidecar: Start, tmp_path: Path) -> None:
    """Standard error is a pipe here, and full after some hundred lines."""
    rule = deny("request.tokens > 0", mode="shadow")
    sidecar = start_sidecar(minimal(tmp_path / "p", trial=rule))
    own = sidecar.stub
    for _ in range(1500):
        answer = own.Authorize(chat(tester(), model="small-1"), timeout=30)
        assert answer.effect == pb.EFFECT_ALLOW
    assert sidecar.process is not None
    sidecar.process.send_signal(signal.SIGTERM)
    assert sidecar.process.wait(30) == 0  # though the last lines are still in the pipe
    sidecar.process.communicate()


def test_l1_many_clients_at_once_never_pass_a_small_budget(
    start_sidecar: Start, tmp_path: Path
) -> None:
    """L1: 24 clients, some of which settle less and some release, against one budget of tokens."""
    policies = minimal(tmp_path / "p", daily=limit("10_000".replace("_", ""), meter="tokens"))
    sidecar = start_sidecar(policies)
    seen: list[pb.Budget] = []

    def client(number: int) -> int:
        own, granted = stub(sidecar.addresses[0]), 0
        for n in range(25):
            request = chat(tester(), model="small-1", request_id=f"{number}-{n}")
            answer = own.Authorize(request)
            seen.extend(answer.budgets)
            if answer.effect != pb.EFFECT_ALLOW:
                continue
            granted += 1
            if n % 3 == 0:
                usage = pb.Usage(input_tokens=50, output_tokens=number)
                own.Settle(pb.SettleRequest(hold_id=answer.hold_id, usage=usage))
            elif n % 7 == 1:
                own.Release(pb.ReleaseRequest(hold_id=answer.hold_id))
        return granted

    with ThreadPoolExecutor(24) as pool:
        granted = sum(pool.map(client, range(24)))
    assert granted > 50  # 200 tokens a call: less comes back than is held
    assert len(seen) == 600
    assert all(0 <= b.spent + b.held <= b.ceiling for b in seen)
    verify(sidecar.ledger)


def test_l3_concurrent_copies_of_one_request_get_one_hold(
    start_sidecar: Start, tmp_path: Path
) -> None:
    """L3: 40 copies of one request, sent at once over 8 connections, are one call."""
    sidecar = start_sidecar(minimal(tmp_path / "p", daily=limit("1000", meter="tokens")))
    request = chat(tester(), model="small-1", request_id="the-one")
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: sidecar.stub.Authorize(request), range(40)))
    assert sum(not answer.replayed for answer in answers) == 1
    for answer in answers:
        answer.replayed = False
    assert len({answer.SerializeToString(deterministic=True) for answer in answers}) == 1
    assert rows(sidecar.ledger, "SELECT held FROM budgets") == [(200,)]


def test_sigterm_finishes_what_is_in_flight_and_exits_0(
    start_sidecar: Start, tmp_path: Path
) -> None:
    """Calls that were under way are answered; later ones are refused; nothing is lost."""
    sidecar = start_sidecar(minimal(tmp_path / "p", daily=limit("100000000", meter="tokens")))
    own = sidecar.stub
    assert own.Authorize(chat(tester(), model="small-1")).hold_id
    calls = [
        own.Authorize.future(chat(tester(), model="small-1", request_id=f"late-{n}"), timeout=20)
        for n in range(200)
    ]
    eventually(calls[0].done)
    assert sidecar.stop(signal.SIGTERM) == 0
    answered = [call.result().hold_id for call in calls if call.exception() is None]
    assert answered
    in_ledger = {hold for (hold,) in rows(sidecar.ledger, "SELECT hold_id FROM holds")}
    assert set(answered) <= in_ledger
    assert "stopped" in sidecar.log
    verify(sidecar.ledger)


def test_calls_during_the_stop_are_answered_or_unavailable(
    start_sidecar: Start, tmp_path: Path
) -> None:
    """No call is cancelled by the stop: each is answered, or UNAVAILABLE and safe to repeat."""
    sidecar = start_sidecar(minimal(tmp_path / "p", daily=limit("100000000", meter="tokens")))
    ends: list[grpc.StatusCode] = []

    def client(number: int) -> None:
        own = stub(sidecar.addresses[0])
        try:
            for n in range(100_000):
                own.Authorize(
                    chat(tester(), model="small-1", request_id=f"{number}-{n}"), timeout=9
                )
        except grpc.RpcError as error:
            ends.append(error.code())

    crowd = [threading.Thread(target=client, args=(number,)) for number in range(12)]
    for thread in crowd:
        thread.start()
    time.sleep(0.5)
    assert sidecar.stop() == 0
    for thread in crowd:
        thread.join()
    assert set(ends) == {grpc.StatusCode.UNAVAILABLE}
    verify(sidecar.ledger)


def test_a_second_sidecar_on_one_ledger_is_refused(start_sidecar: Start) -> None:
    """The second says so, with the first one's process, and the first goes on."""
    first = start_sidecar()
    with pytest.raises(AssertionError, match="another sidecar"):
        start_sidecar()
    assert first.stub.Authorize(chat()).hold_id
    first.stop()
    start_sidecar(ledger=first.ledger)


def test_a_full_disk_is_unavailable_while_it_lasts(start_sidecar: Start, tmp_path: Path) -> None:
    """L4: no answer without the disk; when there is room again, the sidecar goes on by itself."""
    sidecar = start_sidecar(minimal(tmp_path / "p", daily=limit("100000000", meter="tokens")))
    own = sidecar.stub
    kept = [own.Authorize(chat(tester(), model="small-1")).hold_id for _ in range(20)]
    assert sidecar.process is not None
    nothing = (0, resource.RLIM_INFINITY)
    resource.prlimit(sidecar.process.pid, resource.RLIMIT_FSIZE, nothing)

    def fill_up() -> None:
        for _ in range(50):
            kept.append(own.Authorize(chat(tester(), model="small-1")).hold_id)  # noqa: PERF401

    with pytest.raises(grpc.RpcError) as caught:
        fill_up()
    assert grpc.StatusCode.UNAVAILABLE is caught.value.code()
    assert error_info(caught.value).reason == "LEDGER_UNAVAILABLE"
    (budget,) = own.GetBudgets(pb.GetBudgetsRequest(principal=tester())).budgets
    assert 200 * len(kept) == budget.held
    limits = (resource.RLIM_INFINITY, resource.RLIM_INFINITY)
    resource.prlimit(sidecar.process.pid, resource.RLIMIT_FSIZE, limits)
    kept.append(own.Authorize(chat(tester(), model="small-1")).hold_id)
    assert sidecar.stop() == 0
    assert {(hold,) for hold in kept} == set(rows(sidecar.ledger, "SELECT hold_id FROM holds"))
    verify(sidecar.ledger)


def test_a_ledger_that_cannot_be_opened_stops_the_start(tmp_path: Path) -> None:
    """A clear message and exit code 1, never a sidecar without a ledger."""
    ledger = tmp_path / "ledger.sqlite"
    ledger.write_text("not a ledger, but long enough to be looked at" * 40)
    policies = shipped(tmp_path / "p")
    serve = ("serve", "--policies", policies, "--ledger", ledger, "--listen", "127.0.0.1:0")
    code, _, err = command(*serve)
    assert code == 1
    assert f"sidecar: {ledger}: cannot be opened as a ledger" in err


def test_the_decision_log_matches_the_responses(start_sidecar: Start, tmp_path: Path) -> None:
    """The view has each decision with its reasons and its policy set."""
    sidecar = start_sidecar(minimal(tmp_path / "p", daily=limit("150", meter="tokens")))
    answer = sidecar.stub.Authorize(chat(tester(), model="small-1", request_id="r"))
    (row,) = rows(
        sidecar.ledger,
        "SELECT decision_id, effect, reasons, digest FROM all_decisions"
        " JOIN policy_sets ON policy_sets.id = policy_set",
    )
    assert (answer.decision_id, "deny", answer.policy_digest) == (row[0], row[1], row[3])
    assert [reason["code"] for reason in json.loads(str(row[2]))] == [
        "LARGER_THAN_BUDGET",
        "TOO_MUCH",
    ]
