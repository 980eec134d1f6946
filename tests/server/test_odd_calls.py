"""Calls of methods and with headers that no client library would send."""

import asyncio
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from hpack import Encoder
from hyperframe.frame import DataFrame, HeadersFrame
from support.http2_frames import AUTHORIZE, OPENING
from support.http_calls import connect
from support.outside import HEALTH, address
from support.sidecar_process import RunningSidecar, chat

from sidecar.server.listener import Server

Start = Callable[..., RunningSidecar]

SECRET = b"sk-hunter2"


def ended(where: str, path: bytes, *fields: tuple[bytes, bytes], message: bytes = b"") -> bytes:
    """Make a call with a path and more headers; return what comes until its status has come."""
    block = Encoder().encode(
        [(b":method", b"POST"), (b":scheme", b"http"), (b":authority", b"x"), (b":path", path),
         (b"te", b"trailers"), (b"content-type", b"application/grpc"), *fields],
        huffman=False,
    )  # fmt: skip
    content = b"\0" + len(message).to_bytes(4, "big") + message
    received = b""
    with connect(where) as connection:
        connection.sendall(OPENING + HeadersFrame(1, block, flags=["END_HEADERS"]).serialize())
        connection.sendall(DataFrame(1, content, flags=["END_STREAM"]).serialize())
        while b"grpc-status" not in received:
            part = connection.recv(65_536)
            assert part, received
            received += part
    return received


@pytest.fixture
def listeners(start_sidecar: Start, tmp_path: Path) -> Iterator[dict[str, str]]:
    """The addresses of a sidecar's gRPC listeners, in whose log no error may be."""
    operators = f"unix:{tmp_path / 'admin.sock'}"
    sidecar = start_sidecar(None, "--admin-listen", operators, *HEALTH)
    yield {
        "apps": sidecar.addresses[0],
        "operators": operators,
        "probes": address(sidecar, "health"),
    }
    assert sidecar.stop() == 0
    assert re.findall(r"(?:ERROR|Traceback).*", sidecar.log) == []
    assert SECRET.decode() not in sidecar.log


@pytest.mark.parametrize("listener", ["apps", "operators", "probes"])
@pytest.mark.parametrize(
    "path", [b"/\xff", b"\xc3(", AUTHORIZE.encode() + b"\xff", b"/\xed\xa0\x80/x"]
)
def test_a_call_whose_path_is_no_text_ends_alone(
    path: bytes, listener: str, listeners: dict[str, str]
) -> None:
    """By itself, gRPC's server would end with it."""
    where = listeners[listener]
    assert b"no such method" in ended(where, path)
    with grpc.insecure_channel(where) as channel:
        check: Any = channel.unary_unary("/grpc.health.v1.Health/Check")
        assert check(b"", timeout=30)
        unknown: Any = channel.unary_unary("/no/Method")
        with pytest.raises(grpc.RpcError, match="UNIMPLEMENTED"):
            unknown(b"", timeout=30)


def test_a_server_that_has_ended_says_so() -> None:
    """Its process goes on, where gRPC ends it by itself because accepting a call failed."""

    async def problems() -> tuple[str, str]:
        server = Server([], ["127.0.0.1:0"])
        await server.start()
        before = server.problem()
        await server._server.stop(0)  # noqa: SLF001 - as gRPC does
        return before, server.problem()

    assert asyncio.run(problems()) == ("", "gRPC has ended its server: start anew")


def test_headers_that_are_no_text_are_not_logged(listeners: dict[str, str]) -> None:
    """One may be a secret with a typing error; the call goes on without it."""
    message = chat().SerializeToString()
    for name in (b"x-note", b"authorization", b"traceparent"):
        answer = ended(
            listeners["apps"], AUTHORIZE.encode(), (name, SECRET + b"\xff"), message=message
        )
        assert b"grpc-status\x010" in answer
