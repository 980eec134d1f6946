"""What callers can make the sidecar keep in memory before it knows who they are."""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest
from support import tools
from support.http2_frames import AUTHORIZE, FLOODS, STREAM, UnfinishedCalls, calls_taken_back, flood
from support.memory import limit_bytes, limited, peak_bytes
from support.policies import SHIPPED
from support.sidecar_process import RunningSidecar, chat, error_info, eventually

from sidecar.server.listener import MAX_REQUEST_BYTES
from sidecar.server.unfinished import READ_SECONDS

Start = Callable[..., RunningSidecar]

FLOOD_SECONDS = 2
FLOOD_BYTES = 32 * 2**20
"""What a flood may make the sidecar keep, however long it lasts."""
CHECK = "/grpc.health.v1.Health/Check"


@pytest.fixture
def start_limited(tmp_path: Path) -> Iterator[Start]:
    """Start one sidecar, with the memory that the manifest gives it, stopped after the test."""
    if not Path("/proc/self/status").exists():
        tools.cannot("the peak of its memory is in Linux's /proc")
    started: list[RunningSidecar] = []
    with limited(limit_bytes()) as memory:

        def start(*args: str) -> RunningSidecar:
            ledger = tmp_path / "ledger.sqlite"
            started.append(RunningSidecar(SHIPPED, ledger, args, prefix=memory.prefix))
            return started[0].start()

        yield start
        for one in started:
            assert one.process is not None
            if one.process.poll() is None:
                one.stop()
        assert memory.kills() == 0


@contextmanager
def honest_caller(sidecar: RunningSidecar) -> Iterator[list[str]]:
    """Call without a pause meanwhile; yield the status of each call."""
    done, statuses = threading.Event(), list[str]()

    def call() -> None:
        stub = sidecar.stub
        while not done.is_set():
            try:
                stub.Authorize(chat(dry_run=True), timeout=20)
                statuses.append("OK")
            except grpc.RpcError as error:
                statuses.append(str(error))

    caller = threading.Thread(target=call)
    caller.start()
    try:
        yield statuses
    finally:
        done.set()
        caller.join()


@pytest.mark.parametrize(
    ("path", "connections", "calls"),
    [(AUTHORIZE, 1, 1000), (CHECK, 1, 1000), (STREAM, 1, 1000), (AUTHORIZE, 24, 60)],
    ids=["one connection", "health", "streams", "many connections"],
)
def test_requests_that_never_end_leave_memory_and_time_for_others(
    path: str, connections: int, calls: int, start_limited: Start
) -> None:
    """The manifest's limit is enough, and a caller beside them is answered each time."""
    sidecar = start_limited()
    with honest_caller(sidecar) as statuses:
        attacks = [
            UnfinishedCalls(sidecar.addresses[0], path, calls, MAX_REQUEST_BYTES)
            for _ in range(connections)
        ]
        with ThreadPoolExecutor(connections) as threads:
            list(threads.map(lambda attack: attack.run(1), attacks))
        peak = peak_bytes(sidecar)
    for attack in attacks:
        attack.close()
    assert set(statuses) == {"OK"}
    assert peak < limit_bytes()
    assert sidecar.stop() == 0
    assert "rror" not in sidecar.log


@pytest.mark.parametrize("kind", FLOODS)
def test_a_flood_of_frames_leaves_memory_and_time_for_others(
    kind: str, start_limited: Start
) -> None:
    """On four connections: a caller beside them is answered each time, however late."""
    sidecar = start_limited()
    before_bytes = peak_bytes(sidecar)
    with honest_caller(sidecar) as statuses, ThreadPoolExecutor(4) as threads:
        floods = [
            threads.submit(flood, sidecar.addresses[0], FLOODS[kind](), FLOOD_SECONDS)
            for _ in range(4)
        ]
        assert min(it.result() for it in floods) > 0
    assert set(statuses) == {"OK"}
    assert peak_bytes(sidecar) < before_bytes + FLOOD_BYTES
    assert sidecar.stop() == 0
    assert "rror" not in sidecar.log


@pytest.mark.parametrize(
    ("unix", "connections"), [(False, 4), (False, 8), (True, 4)], ids=["TCP", "many", "Unix"]
)
def test_peers_that_take_back_every_call_are_disconnected_and_leave_memory(
    start_limited: Start, tmp_path: Path, connections: int, *, unix: bool
) -> None:
    """Meanwhile gRPC may cancel calls of others, which are answered when they are repeated."""
    sidecar = start_limited(*(("--listen", f"unix:{tmp_path}/s") if unix else ()))
    ours = sidecar.stub
    with ThreadPoolExecutor(connections) as threads:
        floods = [
            threads.submit(flood, sidecar.addresses[0], calls_taken_back(), 60)
            for _ in range(connections)
        ]

        def answers() -> bool:
            try:
                ours.Authorize(chat(dry_run=True), timeout=30)
            except grpc.RpcError:
                return False
            return True

        assert eventually(answers, 60)
        assert min(it.result() for it in floods) > 0
    assert eventually(answers, 60)
    assert peak_bytes(sidecar) < limit_bytes()
    assert sidecar.stop() == 0
    assert sidecar.log.count("was disconnected: it takes back") >= 4


@pytest.mark.parametrize("path", [AUTHORIZE, CHECK])
def test_a_request_that_never_ends_is_refused_in_time(
    path: str, shared_sidecar: RunningSidecar
) -> None:
    """Its call ends, and with it what it has sent; the connection goes on."""
    attack = UnfinishedCalls(shared_sidecar.addresses[0], path, 3, MAX_REQUEST_BYTES)
    attack.run(4 * READ_SECONDS)
    assert attack.unfinished == 0
    attack.close()


def test_a_call_without_a_request_is_refused(shared_sidecar: RunningSidecar) -> None:
    """It ends with a reason, as a request that is not whole does."""
    with grpc.insecure_channel(shared_sidecar.addresses[0]) as channel:
        call: Any = channel.stream_unary(AUTHORIZE)
        with pytest.raises(grpc.RpcError) as caught:
            call(iter([]), timeout=30)
    assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
    assert error_info(caught.value).reason == "REQUEST_UNFINISHED"
