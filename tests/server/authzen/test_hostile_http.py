"""Hostile HTTP: requests that no client library would send."""

import json
import threading
from collections.abc import Iterator

import pytest
from support.http_calls import answers, connect, received, request, send
from support.policies import SHIPPED
from support.sidecar_process import RunningSidecar

from sidecar.web.server import MAX_HEAD_BYTES

from .test_authzen import ONE, QUESTION, address_of

CONNECTIONS = 40
BODY = json.dumps(QUESTION).encode()
CHUNKED = b"%x\r\n%b\r\n0\r\n\r\n" % (len(BODY), BODY)


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The AuthZEN address of a sidecar with few connections."""
    ledger = tmp_path_factory.mktemp("http") / "ledger.sqlite"
    args = ("--authzen-listen", "127.0.0.1:0", "--max-connections", str(CONNECTIONS))
    one = RunningSidecar(SHIPPED, ledger, args).start()
    yield address_of(one)
    assert one.stop() == 0
    assert "rror" not in one.log


def is_answered(address: str) -> bool:
    """Whether a well-behaved caller gets a response."""
    return [each.status for each in send(address, request(ONE, QUESTION))] == [200]


@pytest.mark.parametrize(
    ("head", "body", "status"),
    [
        (["Content-Length: 5", "Content-Length: 6"], b"{}", 400),
        ([f"Content-Length: {len(BODY)}", "Transfer-Encoding: chunked"], b"0\r\n\r\n", 400),
        (["Transfer-Encoding: chunked", f"Content-Length: {len(BODY)}"], BODY, 400),
        (["Content-Length: 5", "Transfer-Encoding: chunked"], CHUNKED, 400),
        (["Transfer-Encoding: gzip, chunked"], b"0\r\n\r\n", 501),
        (["Transfer-Encoding: gzip", "Transfer-Encoding: chunked"], b"0\r\n\r\n", 501),
        (["Transfer-Encoding: chunked, identity"], b"0\r\n\r\n", 501),
        (["Transfer-Encoding : chunked"], b"0\r\n\r\n", 400),
        (["Content-Length: -1"], b"", 400),
        (["Content-Length: +1"], b"x", 400),
        (["Content-Length: 0x1"], b"x", 400),
        (["Content-Length: 1e1"], b"x", 400),
        (["Content-Length: 99999999999999999999"], b"x", 413),
        (["Transfer-Encoding: chunked"], b"zz\r\n\r\n", 400),
        (["Transfer-Encoding: chunked"], b"-1\r\n\r\n", 400),
        (["Bad Header: x"], b"", 400),
        (["X: a\x00b"], b"", 400),
        (["X" * (MAX_HEAD_BYTES + 10) + ": 1"], b"", 431),
    ],
    ids=range(18),
)  # fmt: skip
def test_a_request_whose_end_is_not_plain_is_refused(
    head: list[str], body: bytes, status: int, address: str
) -> None:
    """One error, and the connection is closed, so that no second request hides behind it."""
    lines = [f"POST {ONE} HTTP/1.1", "Host: a", "Content-Type: application/json", *head]
    hidden = request(ONE, QUESTION)
    sent = "\r\n".join(lines).encode() + b"\r\n\r\n" + body + hidden
    assert [status] == [each.status for each in send(address, sent)]


@pytest.mark.parametrize(
    "line",
    ["GET /", "POST  /x HTTP/1.1", "\x16\x03\x01\x02\x00\x01", "PRI * HTTP/2.0", "GET / HTTP/9.9"],
)
def test_invalid_http_gets_an_error_or_no_response(line: str, address: str) -> None:
    """No decision is made."""
    for answer in send(address, f"{line}\r\nHost: a\r\n\r\n".encode()):
        assert answer.status >= 400
    assert is_answered(address)


def test_a_second_request_on_a_connection_is_never_read(address: str) -> None:
    """One answer, which says so."""
    one = request(ONE, QUESTION)
    (answer,) = send(address, one + one)
    assert (answer.status, answer.headers["connection"]) == (200, "close")


def test_chunked_bodies_and_expect_100_continue_are_supported(address: str) -> None:
    """Both are valid HTTP."""
    chunked = request(ONE, b"", {"Content-Length": "", "Transfer-Encoding": "chunked"})
    pieces = b"".join(b"1\r\n%c\r\n" % byte for byte in BODY) + b"0\r\n\r\n"
    assert [each.status for each in send(address, chunked + pieces)] == [200]
    head, _, body = request(ONE, QUESTION, {"Expect": "100-continue"}).partition(b"\r\n\r\n")
    with connect(address) as connection:
        connection.sendall(head + b"\r\n\r\n")
        assert connection.recv(1024).startswith(b"HTTP/1.1 100")
        connection.sendall(body)
        assert [each.status for each in answers(received(connection))] == [200]


def test_connections_are_bounded(address: str) -> None:
    """The oldest go when others come."""
    opened = [connect(address) for _ in range(100)]
    assert is_answered(address)
    closed = 0
    for connection in opened:
        connection.settimeout(0.01)
        try:
            closed += connection.recv(1) == b""
        except TimeoutError:
            pass
        except ConnectionError:
            closed += 1
        connection.close()
    assert closed >= 100 - CONNECTIONS


def test_slow_clients_do_not_block_others(address: str) -> None:
    """A hundred connections: silent ones, half requests, and responses that are not read."""
    half = request(ONE, QUESTION)
    opened = []
    for number in range(100):
        connection = connect(address)
        connection.sendall((b"", half[:40], half[:-1], half)[number % 4])
        opened.append(connection)
    assert is_answered(address)
    stopped = threading.Event()

    def drip() -> None:
        while not stopped.wait(0.01):
            for connection in opened:
                try:
                    connection.send(b" ")
                except OSError:
                    continue

    dripping = threading.Thread(target=drip)
    dripping.start()
    try:
        assert all(is_answered(address) for _ in range(20))
        for connection in opened:  # none is kept for good, whatever it sends
            try:
                received(connection)
            except ConnectionError:
                continue
    finally:
        stopped.set()
        dripping.join()
        for connection in opened:
            connection.close()
