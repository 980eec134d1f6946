"""HTTP requests as raw bytes, for requests that no client library would send."""

import json
import socket
from typing import Any, NamedTuple


class Answer(NamedTuple):
    """A response."""

    status: int
    headers: dict[str, str]
    content: bytes

    @property
    def json(self) -> Any:
        """The body's JSON."""
        assert self.headers["content-type"] == "application/json", self
        return json.loads(self.content)


def connect(address: str) -> socket.socket:
    """Open a connection to HOST:PORT or unix:PATH."""
    if address.startswith("unix:"):
        connection = socket.socket(socket.AF_UNIX)
        connection.connect(address.removeprefix("unix:"))
    else:
        host, _, port = address.rpartition(":")
        connection = socket.create_connection((host, int(port)))
    connection.settimeout(30)
    return connection


def received(connection: socket.socket) -> bytes:
    """Return all bytes until the other side closes."""
    pieces = []
    while piece := connection.recv(65_536):
        pieces.append(piece)
    return b"".join(pieces)


def send(address: str, request: bytes) -> list[Answer]:
    """Send bytes; return every response until the other side closes."""
    with connect(address) as connection:
        connection.sendall(request)
        return answers(received(connection))


def answers(content: bytes) -> list[Answer]:
    """Parse responses, each with its content-length."""
    found = []
    while content:
        head, _, content = content.partition(b"\r\n\r\n")
        line, *lines = head.decode("latin-1").split("\r\n")
        headers = {k.lower(): v.strip() for k, _, v in (line.partition(":") for line in lines)}
        length = int(headers.get("content-length", 0))
        found.append(Answer(int(line.split()[1]), headers, content[:length]))
        content = content[length:]
    return found


def request(
    path: str, body: Any = None, headers: dict[str, str] | None = None, method: str = "POST"
) -> bytes:
    """Return a well-formed request; a body of bytes is sent unchanged."""
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    sent = {
        "Host": "localhost", "Content-Type": "application/json",
        "Content-Length": str(len(content)), **(headers or {}),
    }  # fmt: skip
    lines = [
        f"{method} {path} HTTP/1.1",
        *(f"{name}: {value}" for name, value in sent.items() if value),
    ]
    return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + content
