"""HTTP requests, and what only looks like them, for every listener there is."""

from collections.abc import Iterator
from pathlib import Path
from random import Random

from support.http_calls import connect
from support.outside import HEALTH, METRICS, address
from support.sidecar_process import RunningSidecar

from siege.attack import Fuzzer

METHODS = [
    b"GET",
    b"HEAD",
    b"POST",
    b"CONNECT",
    b"OPTIONS",
    b"PRI",
    b"TRACE",
    b"head",
    b"G\x00T",
    b"",
]
TARGETS = [
    b"/metrics", b"/access/v1/evaluation", b"/access/v1/evaluations",
    b"/.well-known/authzen-configuration", b"*", b"a:1", b"http://a/metrics", b"/\xff", b"",
]  # fmt: skip
VERSIONS = [b"HTTP/1.1", b"HTTP/1.0", b"HTTP/2.0", b"HTTP/0.9", b"http/1.1", b""]
NAMES = [
    b"Host", b"Content-Length", b"Transfer-Encoding", b"Expect", b"Connection", b"Upgrade",
    b"Content-Type", b"Content-Encoding", b"X-Request-ID", b"Origin", b"Authorization", b"traceparent",
    b"a b", b"",
]  # fmt: skip
VALUES = [
    b"0", b"1", b"2", b"999999", b"-1", b"1, 1", b"chunked", b"gzip, chunked", b"identity",
    b"100-continue", b"close", b"keep-alive", b"websocket", b"application/json", b"Bearer x", b"x" * 300,
    b"x" * 20_000, b"\xff\xfe", b"a\x0bb", b"a\r\n b", b"",
]  # fmt: skip
BODIES = [
    b"", b"{}", b"[" * 5000, b"1\r\n{\r\n0\r\n\r\n", b"0\r\n\r\n", b"ffffffffff\r\n",
    b'{"subject": 1, "evaluations": [{}]}', b"\x00" * 70_000,
]  # fmt: skip


def exchanged(where: str, sent: bytes) -> bytes:
    """Send bytes and close that direction; return what comes until the other side closes.

    It closes: reading without end would raise TimeoutError.
    """
    found = b""
    with connect(where) as connection:
        try:
            connection.sendall(sent)
            connection.shutdown(1)
            while part := connection.recv(65_536):
                found += part
        except TimeoutError:
            raise
        except OSError:  # bytes that were not read reset the connection
            pass
    return found


class HttpRequests(Fuzzer):
    """Requests with odd lines, headers and bodies, some cut short, on each listener in turn."""

    name = "HTTP requests"
    parameters = "AuthZEN, metrics, health, gRPC and admin listeners; odd lines, headers and bodies"

    def __init__(self, folder: Path, policies: Path, random: Random) -> None:
        """Open every listener."""
        super().__init__(folder, policies, random)
        self._admin = f"unix:{folder / 'admin.sock'}"
        self.arguments = (*METRICS, *HEALTH, "--authzen-listen", "127.0.0.1:0",
                          "--admin-listen", self._admin)  # fmt: skip

    def attack(self, sidecar: RunningSidecar) -> Iterator[None]:
        """Send a request; it gets a response or a closed connection."""
        for_http = [address(sidecar, "AUTHZEN"), address(sidecar, "metrics")]
        for_grpc = [address(sidecar, "health"), sidecar.addresses[0], self._admin]
        while True:
            sent = self._request()
            where = self.random.choice(for_http + for_grpc)
            answer = exchanged(where, sent)
            is_http = answer == b"" or answer.startswith(b"HTTP/1.1 ")
            assert is_http or where in for_grpc, (where, sent, answer)
            yield

    def _request(self) -> bytes:
        draw = self.random
        line = b" ".join(draw.choice(part) for part in (METHODS, TARGETS, VERSIONS))
        headers = [
            draw.choice(NAMES) + b": " + draw.choice(VALUES) for _ in range(draw.randint(0, 5))
        ]
        sent = b"\r\n".join([line, b"Host: a", *headers]) + b"\r\n\r\n" + draw.choice(BODIES)
        if draw.random() < 0.1:
            return draw.randbytes(draw.randint(0, 200))
        return sent[: draw.randint(0, len(sent))] if draw.random() < 0.3 else sent
