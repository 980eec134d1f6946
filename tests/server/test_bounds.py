"""The bounds on peers: connections, streams, pings, rates and sizes."""

import contextlib
import os
import re
import socket
import stat
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.rpc.error_details_pb2 import RetryInfo
from grpc_status import rpc_status
from hyperframe.frame import PingFrame, SettingsFrame
from mistral_spend.v1 import authorization_pb2 as pb
from mistral_spend.v1.authorization_pb2_grpc import AuthorizationServiceStub
from support import http2_frames, tools
from support.http2_frames import PREFACE
from support.sidecar_process import RunningSidecar, chat, error_info, eventually, principal, stub

from sidecar.server.addresses import created_with
from sidecar.server.connections import LOOK_SECONDS, SILENT_SECONDS
from sidecar.server.listener import HANDSHAKE_SECONDS, MAX_CONCURRENT_STREAMS, PING_SECONDS
from sidecar.server.service import IDLE_SECONDS, MAX_STREAMS
from sidecar.server.stream import UNREAD_SECONDS

Start = Callable[..., RunningSidecar]

SMALL_WINDOW = [("grpc.http2.lookahead_bytes", 1), ("grpc.http2.bdp_probe", 0)]
"""Options of a client that gets no response before it reads."""
SETTINGS = SettingsFrame(0).serialize()
PING = PingFrame(0, bytes(8)).serialize()


def connect(sidecar: RunningSidecar) -> socket.socket:
    """Open a connection without sending anything; what it waits for comes soon."""
    connection = http2_frames.connect(sidecar.addresses[0])
    connection.settimeout(0.2)
    return connection


def is_closed(connection: socket.socket) -> bool:
    """Whether the other side has ended a connection; what it says is read."""
    try:
        while connection.recv(4096):
            pass
    except TimeoutError:
        return False
    except ConnectionError:
        pass
    return True


def test_connections_that_are_too_many_are_closed(start_sidecar: Start) -> None:
    """Existing connections continue, and each that ends makes room for another.

    One above the maximum is let in, for which a silent one would be ended.
    """
    sidecar = start_sidecar(None, "--max-connections", "4")
    ours = sidecar.stub
    assert ours.Authorize(chat()).hold_id
    idle = [connect(sidecar) for _ in range(20)]
    closed = [is_closed(connection) for connection in idle]
    assert closed.count(False) == 4
    assert ours.Authorize(chat()).hold_id
    for connection in idle:
        connection.close()
    time.sleep(0.5)
    assert sidecar.stub.Authorize(chat(), timeout=10, wait_for_ready=True).hold_id


@pytest.mark.parametrize("unix", [False, True], ids=["TCP", "a Unix socket"])
def test_silent_connections_make_room_where_a_listener_is_full(
    unix: bool,
    start_sidecar: Start,
    tmp_path: Path,
) -> None:
    """The most silent goes; on a Unix socket, where no time is known, the oldest."""
    if not Path("/proc/self/fd").exists():
        tools.cannot("connections are listed in Linux's /proc")
    listen = ("--listen", f"unix:{tmp_path}/s") if unix else ()
    sidecar = start_sidecar(None, "--max-connections", "4", *listen)
    silent = [connect(sidecar) for _ in range(5)]
    for connection in silent:
        connection.sendall(PREFACE + SETTINGS)  # so that it could stay for a minute
    ours = sidecar.stub
    assert ours.Authorize(chat(), timeout=30, wait_for_ready=True).hold_id
    assert [is_closed(connection) for connection in silent].count(True) >= 1
    for _ in range(5):  # a connection in use is not the one that goes
        time.sleep(1)
        assert ours.Authorize(chat()).hold_id
    for connection in silent:
        connection.close()


@pytest.mark.parametrize("unix", [False, True], ids=["TCP", "a Unix socket"])
def test_no_connection_makes_room_that_no_other_waits_for(
    unix: bool, start_sidecar: Start, tmp_path: Path
) -> None:
    """As many connections as there may be stay open, silent or not, such as those of streams."""
    listen = ("--listen", f"unix:{tmp_path}/s") if unix else ()
    sidecar = start_sidecar(None, "--max-connections", "4", *listen)
    silent = [connect(sidecar) for _ in range(4)]
    for connection in silent:
        connection.sendall(PREFACE + SETTINGS)
    time.sleep(SILENT_SECONDS + 3 * LOOK_SECONDS)
    assert [is_closed(connection) for connection in silent] == [False] * 4
    assert sidecar.stub.Authorize(chat(), timeout=10).hold_id  # one more is let in
    for connection in silent:
        connection.close()


@pytest.mark.parametrize("chunks", [b"", PREFACE], ids=["nothing", "a byte at a time"])
def test_a_connection_without_a_handshake_in_time_is_closed(
    chunks: bytes, shared_sidecar: RunningSidecar
) -> None:
    """A slow client occupies a connection for some seconds only."""
    with connect(shared_sidecar) as connection:
        closed, left = False, list(chunks)
        deadline = time.monotonic() + 4 * HANDSHAKE_SECONDS
        while not closed:
            assert time.monotonic() < deadline, "it is still open"
            with contextlib.suppress(ConnectionError):
                connection.send(bytes([left.pop(0)]) if left else b"")
            closed = is_closed(connection)
    assert shared_sidecar.stub.Authorize(chat()).hold_id


def test_idle_streams_do_not_block_other_calls(
    shared_sidecar: RunningSidecar,
) -> None:
    """More than the maximum are refused with a reason; other calls and later streams continue."""
    hold = threading.Event()

    def nothing() -> Iterator[pb.AuthorizeRequest]:
        hold.wait(60)
        yield from ()

    with grpc.insecure_channel(shared_sidecar.addresses[0]) as channel:
        call = channel.stream_stream(
            "/sidecar.v1.AuthorizationService/AuthorizeStream",
            pb.AuthorizeRequest.SerializeToString,
            pb.AuthorizeResponse.FromString,
        )
        streams = [call(nothing()) for _ in range(MAX_STREAMS + 20)]
        refused = ended(streams, 20)
        assert {_reason(stream) for stream in refused} == {"TOO_MANY_STREAMS"}
        assert len(refused) == 20
        assert shared_sidecar.stub.Authorize(chat(), timeout=10).hold_id
        hold.set()
        assert [list(stream) for stream in streams if stream not in refused] == ([[]] * MAX_STREAMS)
        request = chat(request_id="after the flood")
        assert [answer.request_id for answer in call(iter([request]))] == [request.request_id]


def test_an_idle_stream_makes_room_where_all_places_are_taken(
    shared_sidecar: RunningSidecar,
) -> None:
    """One that was idle for long enough ends for a new one, which is answered."""
    done = threading.Event()

    def requests(request_id: str) -> Iterator[pb.AuthorizeRequest]:
        yield chat(request_id=request_id)
        done.wait(300)

    own = shared_sidecar.stub
    streams = []
    for number in range(MAX_STREAMS):
        streams.append(own.AuthorizeStream(requests(f"idle-{number}")))
        assert next(streams[number]).request_id == f"idle-{number}"
    time.sleep(IDLE_SECONDS)
    for number in range(2):
        stream = own.AuthorizeStream(requests(f"later-{number}"))
        assert next(stream).request_id == f"later-{number}"
    eventually(lambda: not all(stream.is_active() for stream in streams))
    ended = [stream for stream in streams if not stream.is_active()]
    failed = [stream for stream in ended if stream.code() is not grpc.StatusCode.OK]
    assert {error_info(stream).reason for stream in failed} <= {"STREAM_IDLE"}
    done.set()


def test_a_stream_whose_responses_are_not_read_leaves_its_place(
    shared_sidecar: RunningSidecar,
) -> None:
    """Another gets it after a while; the first ends with a reason, if it is read at last."""
    done = threading.Event()

    def one(request_id: str) -> Iterator[pb.AuthorizeRequest]:
        yield chat(request_id=request_id)
        done.wait(60)

    def is_taken() -> bool:
        later = chat(request_id="after those unread")
        with contextlib.suppress(grpc.RpcError):
            return [each.request_id for each in own.AuthorizeStream(iter([later]))] != []
        return False

    own = shared_sidecar.stub
    with grpc.insecure_channel(shared_sidecar.addresses[0], SMALL_WINDOW) as channel:
        unread = AuthorizationServiceStub(channel)  # type: ignore[no-untyped-call]
        streams = [unread.AuthorizeStream(one(f"unread-{n}")) for n in range(MAX_STREAMS)]
        eventually(lambda: not is_taken())
        eventually(is_taken, 6 * UNREAD_SECONDS)
        assert next(streams[0]).request_id == "unread-0"
        with pytest.raises(grpc.RpcError):
            next(streams[0])
        assert error_info(streams[0]).reason == "RESPONSES_UNREAD"
        done.set()


@pytest.mark.parametrize("rpc", ["Authorize", "AuthorizeStream"])
def test_a_client_that_goes_while_it_is_answered_is_not_logged(
    rpc: str, start_sidecar: Start
) -> None:
    """Neither as an error nor as a traceback: clients could fill the log."""
    sidecar = start_sidecar()
    with grpc.insecure_channel(sidecar.addresses[0], SMALL_WINDOW) as channel:
        path = f"/sidecar.v1.AuthorizationService/{rpc}"
        call: Any = channel.stream_stream(path, pb.AuthorizeRequest.SerializeToString)
        for number in range(20):
            answers = call(iter([chat(request_id=f"r{number}")]))
            answers.initial_metadata()  # a response that is not read is then on its way
            answers.cancel()
    assert sidecar.stub.Authorize(chat()).hold_id
    assert sidecar.stop() == 0
    assert re.findall(r"(?:ERROR|Traceback).*", sidecar.log) == []


def ended(streams: list[Any], number: int) -> list[Any]:
    """Wait until so many streams have ended, and return all that have."""
    ends = threading.Semaphore(0)
    for stream in streams:
        if not stream.add_callback(ends.release):  # it has ended already
            ends.release()
    assert all(ends.acquire(timeout=30) for _ in range(number))
    return [stream for stream in streams if not stream.is_active()]


def _reason(stream: Any) -> str:
    """Return why a stream was ended."""
    assert stream.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    return str(error_info(stream).reason)


def test_a_peer_that_pings_constantly_is_disconnected(shared_sidecar: RunningSidecar) -> None:
    """A few pings are allowed."""
    with connect(shared_sidecar) as connection:
        connection.sendall(PREFACE + SETTINGS)
        with contextlib.suppress(ConnectionError):
            for _ in range(100):
                connection.sendall(PING)
        assert is_closed(connection)


def test_pings_at_the_documented_interval_keep_a_connection_without_calls(
    shared_sidecar: RunningSidecar,
) -> None:
    """Of four pings, three come after the interval, and the third too soon would close it."""
    with connect(shared_sidecar) as connection:
        connection.sendall(PREFACE + SETTINGS)
        for number in range(4):
            time.sleep((PING_SECONDS + 0.2) if number else 0)
            connection.sendall(PING)
            assert not is_closed(connection)


def test_a_caller_over_its_rate_is_told_when_to_retry(start_sidecar: Start) -> None:
    """Other callers continue, and holds can always be closed."""
    sidecar = start_sidecar(None, "--max-rate", "5").stub
    answers = [sidecar.Authorize(chat(dry_run=n > 0)) for n in range(5)]

    def hurry() -> None:
        for _ in range(50):
            sidecar.Authorize(chat(dry_run=True))

    with pytest.raises(grpc.RpcError) as caught:
        hurry()
    assert grpc.StatusCode.RESOURCE_EXHAUSTED is caught.value.code()
    assert error_info(caught.value).reason == "CALLER_TOO_FAST"
    wait = RetryInfo()
    status = rpc_status.from_call(caught.value)
    assert status is not None
    assert status.details[1].Unpack(wait)
    assert 0 < wait.retry_delay.nanos <= 200_000_000
    assert sidecar.Authorize(chat(principal(id="bob"))).hold_id
    for _ in range(10):
        assert sidecar.Release(pb.ReleaseRequest(hold_id=answers[0].hold_id)).budgets


@pytest.mark.parametrize(("args", "mode"), [((), 0o660), (("--socket-mode", "600"), 0o600)])
def test_a_unix_socket_has_the_configured_permissions(
    args: tuple[str, ...], mode: int, start_sidecar: Start, tmp_path: Path
) -> None:
    """From its first moment, for any umask; it is removed at the stop."""
    path = tmp_path / "s.sock"
    before = os.umask(0)
    try:
        sidecar = start_sidecar(None, "--listen", f"unix:{path}", *args)
    finally:
        os.umask(before)
    assert stat.S_IMODE(path.stat().st_mode) == mode
    assert stub(f"unix:{path}").Authorize(chat()).hold_id
    assert sidecar.stop() == 0
    assert not path.exists()


def test_what_is_created_has_its_permissions_from_its_first_moment(tmp_path: Path) -> None:
    """There is no time in which another user could connect; the umask is then what it was."""
    before = os.umask(0)
    try:
        with created_with(0o640), socket.socket(socket.AF_UNIX) as listener:
            listener.bind(str(tmp_path / "s.sock"))
        assert stat.S_IMODE((tmp_path / "s.sock").stat().st_mode) == 0o640
        assert os.umask(0) == 0
    finally:
        os.umask(before)


@pytest.mark.parametrize(("connections", "calls"), [(1, 5 * MAX_CONCURRENT_STREAMS), (32, 60)])
def test_no_call_is_refused_though_very_many_come_at_once(
    connections: int, calls: int, shared_sidecar: RunningSidecar
) -> None:
    """Those above the bound of a connection wait in the client, the others in the sidecar."""
    apart = [("grpc.use_local_subchannel_pool", 1)]
    with contextlib.ExitStack() as opened:
        channels = [
            opened.enter_context(grpc.insecure_channel(shared_sidecar.addresses[0], apart))
            for _ in range(connections)
        ]
        futures = [
            AuthorizationServiceStub(channel).Authorize.future(chat(dry_run=True), timeout=60)  # type: ignore[no-untyped-call]
            for channel in channels
            for _ in range(calls)
        ]
        codes = Counter(future.code() for future in futures)
    assert codes == {grpc.StatusCode.OK: connections * calls}
