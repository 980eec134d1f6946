"""Streams that end while their requests are decided: nothing is lost, and nothing is left."""

import contextlib
import json
import queue
import sqlite3
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import grpc
import pytest
from mistral_spend.v1 import authorization_pb2 as pb
from support.faulty_machine import FaultyMachine
from support.memory import peak_bytes
from support.policies import limit, minimal
from support.sidecar_process import RunningSidecar, chat, eventually, tester

Start = Callable[..., RunningSidecar]

STREAMS = 150
"""That fail, while a message of 200 KB is on its way."""
MESSAGE_BYTES = 200_000


class Requests:
    """The requests of a stream, which a test sends one by one."""

    def __init__(self) -> None:
        """Begin without any."""
        self._queue: queue.Queue[pb.AuthorizeRequest | None] = queue.Queue()

    def __iter__(self) -> Iterator[pb.AuthorizeRequest]:
        """Yield what is sent until it ends."""
        return iter(self._queue.get, None)

    def send(self, *requests: pb.AuthorizeRequest) -> None:
        """Send requests."""
        for request in requests:
            self._queue.put(request)

    def end(self) -> None:
        """Send no more."""
        self._queue.put(None)


def request(request_id: str, **changes: object) -> pb.AuthorizeRequest:
    """Return a request of the minimal policies."""
    return chat(tester(), model="small-1", request_id=request_id, **changes)


def decided(sidecar: RunningSidecar) -> set[str]:
    """Return the ids of all decisions in the ledger."""
    with contextlib.closing(sqlite3.connect(sidecar.ledger)) as ledger:
        return {row for (row,) in ledger.execute("SELECT request_id FROM decision_log")}


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[FaultyMachine]:
    """A machine whose disk is free at the end."""
    machine = FaultyMachine(tmp_path)
    yield machine
    machine.free_disk()


@pytest.mark.parametrize("number", [50, 200])
def test_requests_that_nobody_waits_for_are_not_decided(
    number: int, machine: FaultyMachine, start_sidecar: Start, tmp_path: Path
) -> None:
    """They wait for the commit of one request when their client disconnects."""
    sidecar = start_sidecar(minimal(tmp_path / "p"), env=machine.env)
    requests = Requests()
    stream = sidecar.stub.AuthorizeStream(iter(requests))
    requests.send(request("warm"))
    assert next(stream).request_id == "warm"
    machine.hang_disk()
    requests.send(request("in the commit"))
    eventually(machine.disk_is_awaited)
    requests.send(*(request(f"waits-{one}") for one in range(number)))
    time.sleep(0.5)  # they have arrived, or will find no stream
    stream.cancel()
    time.sleep(0.2)
    machine.free_disk()
    eventually(lambda: "in the commit" in decided(sidecar))
    sidecar.stub.Authorize(request("after it"))
    assert decided(sidecar) == {"warm", "in the commit", "after it"}
    requests.end()


@pytest.mark.parametrize("on_a_stream", [True, False])
def test_what_a_stop_interrupts_is_in_the_log_if_it_is_in_the_ledger(
    machine: FaultyMachine, start_sidecar: Start, tmp_path: Path, on_a_stream: bool
) -> None:
    """Calls whose commit waits for the disk beyond the grace of a stop."""
    log = tmp_path / "decisions.jsonl"
    arguments = ("--decision-log", str(log), "--grace-seconds", "0.5")
    sidecar = start_sidecar(minimal(tmp_path / "p"), *arguments, env=machine.env)
    stub, requests = sidecar.stub, Requests()
    stub.Authorize(request("warm"))
    machine.hang_disk()
    many = [request(f"one-{one}") for one in range(40)]
    if on_a_stream:
        stream = stub.AuthorizeStream(iter(requests))
        requests.send(*many)
    else:
        calls = [stub.Authorize.future(one) for one in many]
    eventually(machine.disk_is_awaited)
    time.sleep(0.3)
    assert sidecar.process is not None
    sidecar.process.terminate()
    time.sleep(1.5)  # longer than the grace
    machine.free_disk()
    assert sidecar.stop() == 0
    logged = {json.loads(line)["request_id"] for line in log.read_text().splitlines()}
    assert logged == decided(sidecar)
    assert len(logged) > 1
    requests.end()
    if on_a_stream:
        assert stream.code() is not grpc.StatusCode.OK
    else:
        assert all(call.done() for call in calls)


def test_an_allowed_request_does_not_wait_for_the_alternatives_of_a_denied_one(
    machine: FaultyMachine, start_sidecar: Start, tmp_path: Path
) -> None:
    """Of two that are decided together, the one that came later is answered first."""
    policies = minimal(tmp_path / "p", daily=limit("700", meter="tokens"))
    sidecar, requests = start_sidecar(policies, env=machine.env), Requests()
    stream = sidecar.stub.AuthorizeStream(iter(requests))
    machine.hang_disk()
    requests.send(request("in the commit"))
    eventually(machine.disk_is_awaited)
    denied = request("denied", estimate={"input_tokens": 100, "max_output_tokens": 5000})
    requests.send(denied, request("allowed"))
    time.sleep(0.5)  # both have arrived, and wait for the next group
    machine.free_disk()
    answers = [next(stream) for _ in range(3)]
    assert [answer.request_id for answer in answers] == ["in the commit", "allowed", "denied"]
    assert answers[2].fitting_max_output_tokens
    requests.end()


def test_streams_that_fail_while_a_message_arrives_leave_no_memory(
    start_sidecar: Start, tmp_path: Path
) -> None:
    """A read that was cancelled would keep its message: see grpc/grpc#43360."""
    sidecar = start_sidecar(minimal(tmp_path / "p"))
    invalid = request("invalid", estimate={"input_tokens": -1})
    large = request("large")
    large.principal.labels["text"] = "x" * MESSAGE_BYTES

    def fail(streams: int) -> None:
        for number in range(streams):
            requests = [request(f"{number}-{time.monotonic_ns()}"), invalid, *[large] * 4]
            with pytest.raises(grpc.RpcError):
                list(sidecar.stub.AuthorizeStream(iter(requests)))

    fail(STREAMS)
    before_bytes = peak_bytes(sidecar)
    fail(STREAMS)
    assert peak_bytes(sidecar) - before_bytes < STREAMS * MESSAGE_BYTES / 2
