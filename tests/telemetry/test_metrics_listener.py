"""The metrics listener with slow, many and hostile scrapers."""

import socket
from collections.abc import Callable, Iterator

import pytest
from support.commands import sidecar as command
from support.outside import METRICS, address, connect, page
from support.policies import SHIPPED
from support.sidecar_process import RunningSidecar, chat

Start = Callable[..., RunningSidecar]


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningSidecar]:
    """One sidecar for all tests of the module."""
    ledger = tmp_path_factory.mktemp("scraped") / "ledger.sqlite"
    one = RunningSidecar(SHIPPED, ledger, METRICS).start()
    yield one
    assert one.stop() == 0


def works(running: RunningSidecar) -> bool:
    """Check that decisions and scrapes still work."""
    decided = running.stub.Authorize(chat(dry_run=True), timeout=20).decision_id
    return bool(decided) and "sidecar_ready 1.0" in page(running)


def response(connection: socket.socket) -> bytes:
    """Read to the end."""
    found = b""
    try:
        while part := connection.recv(65_536):
            found += part
    except ConnectionError:
        pass
    return found


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n", b"200 OK"),
        (b"GET /metrics?name=up HTTP/1.0\r\n\r\n", b"200 OK"),
        (
            b"POST /metrics HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc",
            b"405 Method Not Allowed",
        ),
        (b"DELETE /metrics HTTP/1.1\r\nHost: x\r\n\r\n", b"405 Method Not Allowed"),
        (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", b"404 Not Found"),
        (b"GET /metrics/../etc/passwd HTTP/1.1\r\nHost: x\r\n\r\n", b"404 Not Found"),
        (b"GET /metrics\r\n\r\n", b"400 Bad Request"),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", b"400 Bad Request"),
        (b"GET /metrics HTTP/1.1\r\nX: " + b"x" * 100_000, b"431 Request Header Fields Too Large"),
        (b"\x00" * 20_000, b"400 Bad Request"),
        (b"GET /metrics HTTP/1.1\r\n\r\n", b"400 Bad Request"),
    ],
    ids=range(11),
)
def test_only_get_metrics_is_answered(sent: bytes, status: bytes, running: RunningSidecar) -> None:
    """Other methods and paths, invalid HTTP, and endless headers are refused."""
    with connect(running) as connection:
        connection.sendall(sent)
        answer = response(connection)
    # What was sent in vain may reset the connection before the answer is read.
    assert answer.startswith(b"HTTP/1.1 " + status) or (answer == b"" and len(sent) > 10_000)
    assert works(running)


def test_a_scraper_that_never_reads_is_disconnected(running: RunningSidecar) -> None:
    """Its connection is closed after a while, and others do not wait for it."""
    crowd = []
    for _ in range(8):
        one = socket.socket()
        one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)
        one.settimeout(30)
        host, port = address(running, "metrics").split(":")
        one.connect((host, int(port)))
        one.sendall(b"GET /metrics HTTP/1.0\r\n\r\n")
        crowd.append(one)
    assert works(running)
    for one in crowd:
        assert len(response(one)) > 0  # and it ends
        one.close()


def test_a_scraper_that_sends_a_byte_at_a_time_is_disconnected(running: RunningSidecar) -> None:
    """After 5 seconds."""
    with connect(running) as connection:
        connection.settimeout(0.5)
        sent = 0
        with pytest.raises(ConnectionError):  # noqa: PT012 - it is the end of a loop
            while sent < 60:
                connection.sendall(b"G")
                sent += 1
                try:
                    if connection.recv(1) == b"":
                        raise ConnectionResetError
                except TimeoutError:
                    continue
        assert works(running)


def test_a_hundred_idle_connections_do_not_block_a_scraper(running: RunningSidecar) -> None:
    """The oldest are closed for a new one."""
    crowd = [connect(running) for _ in range(100)]
    assert works(running)
    closed = 0
    for one in crowd:
        one.settimeout(0.01)
        try:
            closed += one.recv(1) == b""
        except TimeoutError:
            pass
        except ConnectionError:
            closed += 1
        one.close()
    assert closed >= 84
    assert works(running)


@pytest.mark.parametrize(
    "where", ["nowhere", ":", "9090", ":9090", "127.0.0.1:99999", "127.0.0.1:x", "unix:/tmp/x"]
)
def test_an_address_for_metrics_that_cannot_be_used_stops_the_start(
    where: str, running: RunningSidecar
) -> None:
    """Exit code 2, with the flag and the address."""
    ledger = running.ledger.with_name("other.sqlite")
    common = ("serve", "--policies", SHIPPED, "--ledger", ledger, "--listen", "127.0.0.1:0")
    code, _, err = command(*common, "--metrics-listen", where)
    assert (code, f"--metrics-listen {where}: " in err) == (2, True), err
