"""The health service for probes: liveness and readiness."""

import contextlib
import json
import resource
import signal
import socket
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from support.commands import sidecar as command
from support.outside import HEALTH, address
from support.policies import limit, minimal
from support.sidecar_process import RunningSidecar, chat, eventually, tester

from sidecar.server.health import MAX_WATCHERS

Start = Callable[..., RunningSidecar]

SERVICE = "sidecar.v1.AuthorizationService"


@pytest.fixture
def policies(tmp_path: Path) -> Path:
    """A budget that is never used up."""
    return minimal(tmp_path / "p", daily=limit("100000000", meter="tokens"))


def healthz(where: str, service: str = "readiness", *more: str) -> tuple[int, str]:
    """Probe as a kubelet that runs commands does."""
    code, out, err = command("healthz", "--address", where, "--service", service, *more)
    return code, out + err


def check(where: str, service: str) -> str:
    """Probe as a kubelet that speaks gRPC does."""
    with grpc.insecure_channel(where) as channel:
        request = health_pb2.HealthCheckRequest(service=service)
        answer = health_pb2_grpc.HealthStub(channel).Check(request, timeout=10)
    return str(health_pb2.HealthCheckResponse.ServingStatus.Name(answer.status))


def raw(where: str, method: str, body: bytes = b"") -> grpc.StatusCode:
    """Call any method; return the status."""
    with grpc.insecure_channel(where) as channel:
        call: Any = channel.unary_unary(method)
        try:
            call(body, timeout=10)
        except grpc.RpcError as error:
            return error.code()
    return grpc.StatusCode.OK


def test_probes_get_the_status_of_each_service_name(start_sidecar: Start) -> None:
    """By gRPC and by command, over TCP and a Unix socket; exit code 1 for an unknown name."""
    running = start_sidecar(None, *HEALTH)
    where = address(running, "health")
    for name in ("", "readiness", "liveness", SERVICE):
        assert check(where, name) == "SERVING"
        assert check(running.addresses[0], name) == "SERVING"
    assert healthz(where) == (0, "SERVING\n")
    assert healthz(where, "liveness") == (0, "SERVING\n")
    code, output = healthz(where, "unknown")
    assert (code, "NOT_FOUND" in output) == (1, True)


def test_a_probe_reaches_a_unix_socket(start_sidecar: Start, tmp_path: Path) -> None:
    """Where no TCP port is open at all."""
    where = f"unix:{tmp_path}/s"
    start_sidecar(None, "--listen", where)
    assert healthz(where) == (0, "SERVING\n")
    code, output = healthz(f"unix:{tmp_path}/t")
    assert (code, "UNAVAILABLE" in output) == (1, True)


def test_the_health_listener_serves_nothing_but_health(start_sidecar: Start) -> None:
    """No decision, no reflection, no large message, also where the other listener has them."""
    running = start_sidecar(None, *HEALTH, "--reflection")
    where = address(running, "health")
    request = chat().SerializeToString()
    for method in ("Authorize", "Settle", "Release", "GetBudgets", "Explain", "AuthorizeStream"):
        assert raw(where, f"/{SERVICE}/{method}", request) is grpc.StatusCode.UNIMPLEMENTED
    reflection = "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo"
    assert raw(where, reflection) is grpc.StatusCode.UNIMPLEMENTED
    assert raw(running.addresses[0], reflection) is not grpc.StatusCode.UNIMPLEMENTED
    name = health_pb2.HealthCheckRequest(service="x" * 2000).SerializeToString()
    assert raw(where, "/grpc.health.v1.Health/Check", name) is grpc.StatusCode.RESOURCE_EXHAUSTED


def test_it_is_not_ready_while_the_disk_is_full_and_recovers_by_itself(
    start_sidecar: Start, policies: Path
) -> None:
    """There are no calls meanwhile; it is alive all along."""
    running = start_sidecar(policies, *HEALTH)
    where, own = address(running, "health"), running.stub
    own.Authorize(chat(tester(), model="small-1"))
    assert running.process is not None
    nothing = (0, resource.RLIM_INFINITY)
    resource.prlimit(running.process.pid, resource.RLIMIT_FSIZE, nothing)
    with pytest.raises(grpc.RpcError):
        own.Authorize(chat(tester(), model="small-1"))
    eventually(lambda: check(where, "readiness") == "NOT_SERVING")
    assert {check(where, name) for name in ("", SERVICE)} == {"NOT_SERVING"}
    assert check(where, "liveness") == "SERVING"
    assert healthz(where) == (1, "NOT_SERVING\n")
    unlimited = (resource.RLIM_INFINITY, resource.RLIM_INFINITY)
    resource.prlimit(running.process.pid, resource.RLIMIT_FSIZE, unlimited)
    eventually(lambda: check(where, "readiness") == "SERVING")
    assert own.Authorize(chat(tester(), model="small-1")).hold_id
    running.stop()
    assert "not ready: the ledger cannot be written: disk I/O error" in running.log
    assert "ready again" in running.log


def test_it_is_not_ready_while_another_program_locks_the_ledger(
    start_sidecar: Start, policies: Path
) -> None:
    """Even without calls: maintenance notices."""
    running = start_sidecar(policies, *HEALTH)
    where = address(running, "health")
    visitor = sqlite3.connect(running.ledger, isolation_level=None)
    visitor.execute("BEGIN IMMEDIATE")
    eventually(lambda: check(where, "readiness") == "NOT_SERVING", 20)
    assert check(where, "liveness") == "SERVING"
    visitor.execute("ROLLBACK")
    visitor.close()
    eventually(lambda: check(where, "readiness") == "SERVING")


def test_a_watch_is_told_of_the_stop(start_sidecar: Start) -> None:
    """First SERVING, then NOT_SERVING, then the end."""
    running = start_sidecar(None, *HEALTH)
    with grpc.insecure_channel(address(running, "health")) as channel:
        request = health_pb2.HealthCheckRequest(service="readiness")
        recorder = iter(health_pb2_grpc.HealthStub(channel).Watch(request, timeout=30))
        statuses = [next(recorder).status]
        assert running.stop() == 0
        with contextlib.suppress(grpc.RpcError):
            statuses.extend(answer.status for answer in recorder)
    serving = health_pb2.HealthCheckResponse
    assert statuses == [serving.SERVING, serving.NOT_SERVING]


def test_a_sidecar_that_is_stuck_is_not_alive(start_sidecar: Start) -> None:
    """It does not respond, and the probe has a timeout."""
    running = start_sidecar(None, *HEALTH)
    where = address(running, "health")
    assert running.process is not None
    running.process.send_signal(signal.SIGSTOP)
    try:
        code, output = healthz(where, "liveness", "--timeout-seconds", "0.5")
    finally:
        running.process.send_signal(signal.SIGCONT)
    assert (code, "DEADLINE_EXCEEDED" in output or "UNAVAILABLE" in output) == (1, True)
    assert healthz(where, "liveness", "--timeout-seconds", "10") == (0, "SERVING\n")


def test_idle_connections_do_not_block_probes(start_sidecar: Start) -> None:
    """200 silent ones, and as many again between probes: each probe is answered at once."""
    running = start_sidecar(None, *HEALTH)
    host, _, port = (where := address(running, "health")).rpartition(":")
    idle = []
    for _ in range(3):
        idle += [socket.create_connection((host, int(port)), timeout=10) for _ in range(200)]
        assert healthz(where, "liveness") == (0, "SERVING\n")
    assert running.stub.Authorize(chat(), timeout=20).decision_id
    for one in idle:
        one.close()


def test_watches_are_bounded(start_sidecar: Start) -> None:
    """Endless Watch calls are bounded, and do not keep Check out."""
    running = start_sidecar(None)
    request = health_pb2.HealthCheckRequest(service="readiness")
    with grpc.insecure_channel(running.addresses[0]) as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        watches = [stub.Watch(request, timeout=30) for _ in range(MAX_WATCHERS)]
        for recorder in watches:
            next(recorder)
        with pytest.raises(grpc.RpcError) as caught:
            next(stub.Watch(request, timeout=30))
        assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert check(running.addresses[0], "readiness") == "SERVING"


def test_a_watch_that_is_not_read_delays_nothing(start_sidecar: Start) -> None:
    """Neither updates of other watches nor the stop."""
    running = start_sidecar(None, *HEALTH)
    host, _, port = address(running, "health").rpartition(":")
    with socket.create_connection((host, int(port)), timeout=10) as stuck:
        stuck.sendall(_watch_with_a_window_of_nothing(b"readiness"))
        with grpc.insecure_channel(address(running, "health")) as channel:
            request = health_pb2.HealthCheckRequest(service="readiness")
            recorder = iter(health_pb2_grpc.HealthStub(channel).Watch(request, timeout=30))
            statuses = [next(recorder).status]
            began = time.monotonic()
            assert running.stop() == 0
            assert time.monotonic() - began < 5
            with contextlib.suppress(grpc.RpcError):
                statuses.extend(answer.status for answer in recorder)
    serving = health_pb2.HealthCheckResponse
    assert statuses == [serving.SERVING, serving.NOT_SERVING]


def _watch_with_a_window_of_nothing(name: bytes) -> bytes:
    """Return the bytes of an HTTP/2 client that watches, and lets nothing be sent to it."""

    def frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
        head = len(payload).to_bytes(3, "big") + bytes((kind, flags))
        return head + stream.to_bytes(4, "big") + payload

    fields = (
        (b":method", b"POST"), (b":scheme", b"http"), (b":authority", b"x"), (b"te", b"trailers"),
        (b":path", b"/grpc.health.v1.Health/Watch"), (b"content-type", b"application/grpc"),
    )  # fmt: skip
    headers = b"".join(
        b"\0" + bytes((len(field),)) + field + bytes((len(value),)) + value
        for field, value in fields
    )
    request = b"\x0a" + bytes((len(name),)) + name
    message = b"\0" + len(request).to_bytes(4, "big") + request
    settings = (4).to_bytes(2, "big") + bytes(4)  # the window of a stream, at first
    return (
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
        + frame(4, 0, 0, settings)
        + frame(1, 4, 1, headers)
        + frame(0, 1, 1, message)
    )


def test_endless_calls_do_not_block_probes(start_sidecar: Start) -> None:
    """64 that watch have all connections, and the oldest is closed for a probe."""
    running = start_sidecar(None, *HEALTH)
    where = address(running, "health")
    host, _, port = where.rpartition(":")
    taken = [socket.create_connection((host, int(port)), timeout=10) for _ in range(64)]
    for one in taken:
        one.sendall(_watch_with_a_window_of_nothing(b"liveness"))
    assert healthz(where, "liveness") == (0, "SERVING\n")
    for one in taken:
        one.close()


def test_a_probe_loads_neither_evaluators_nor_terminals() -> None:
    """Probes run every few seconds, in the pod's share of a core."""
    program = (
        "import json, sys\n"
        "sys.argv = ['sidecar', 'healthz', '--address', '127.0.0.1:1']\n"
        "from sidecar.cli.entry import main\n"
        "try:\n    main()\n"
        "except SystemExit as end:\n    print(json.dumps([end.code, sorted(sys.modules)]))\n"
    )
    _, out, _ = command(program=program)
    code, modules = json.loads(out.splitlines()[-1])
    assert code == 1
    assert {"celpy", "pydantic", "sqlite3", "sqlite_utils", "sidecar.runtime.serve"} & set(
        modules
    ) == set()


@pytest.mark.parametrize("where", ["unix:/tmp/x", "nowhere", "127.0.0.1:99999", "256.1.1.1:80"])
def test_a_health_address_that_cannot_be_used_stops_the_start(where: str, policies: Path) -> None:
    """Exit code 2, with the flag and the address."""
    ledger = policies.with_name("ledger.sqlite")
    common = ("serve", "--policies", policies, "--ledger", ledger, "--listen", "127.0.0.1:0")
    code, _, err = command(*common, "--health-listen", where)
    assert (code, f"--health-listen {where}: " in err) == (2, True), err
