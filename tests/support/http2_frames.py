"""HTTP/2 below gRPC: clients that never end what they begin, and floods of frames."""

import contextlib
import functools
import itertools
import select
import socket
import time
from collections.abc import Callable, Iterator

from hpack import Encoder
from hpack.struct import NeverIndexedHeaderTuple
from hyperframe.frame import (
    ContinuationFrame,
    DataFrame,
    ExtensionFrame,
    Frame,
    HeadersFrame,
    PingFrame,
    PriorityFrame,
    RstStreamFrame,
    SettingsFrame,
    WindowUpdateFrame,
)

AUTHORIZE = "/sidecar.v1.AuthorizationService/Authorize"
STREAM = "/sidecar.v1.AuthorizationService/AuthorizeStream"

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
FRAME_BYTES = 16_384
CANCEL = 8
OPENING = PREFACE + SettingsFrame(0).serialize() + SettingsFrame(0, flags=["ACK"]).serialize()
"""What a client sends first. That it has read the server's settings is not true."""


@functools.cache
def headers(path: str) -> bytes:
    """Return the header block of a call, which leaves the table of a connection as it was."""
    fields = {
        ":method": "POST", ":scheme": "http", ":authority": "x", "te": "trailers",
        ":path": path, "content-type": "application/grpc",
    }  # fmt: skip
    return Encoder().encode([NeverIndexedHeaderTuple(*field) for field in fields.items()])


def begun(stream: int, path: str) -> bytes:
    """Return the frame that begins a call."""
    return HeadersFrame(stream, headers(path), flags=["END_HEADERS"]).serialize()


def connect(address: str) -> socket.socket:
    """Connect to an address of a sidecar."""
    host, _, port = address.rpartition(":")
    if host == "unix":
        connection = socket.socket(socket.AF_UNIX)
        connection.settimeout(10)
        connection.connect(port)
        return connection
    return socket.create_connection((host, int(port)), timeout=10)


class UnfinishedCalls:
    """Calls on one connection, each of whose requests is sent but for the last byte.

    It sends as fast as the windows allow that the server announces.
    """

    def __init__(self, address: str, path: str, calls: int, message_bytes: int) -> None:
        """Open the connection, and begin every call, more than the server allows or not."""
        self._socket = connect(address)
        self._received = b""
        self._initial, self._window = 65_535, 65_535
        message = b"\0" + message_bytes.to_bytes(4, "big") + bytes(message_bytes - 1)
        self._left = {number * 2 + 1: memoryview(message) for number in range(calls)}
        self._windows = dict.fromkeys(self._left, self._initial)
        self.sent_bytes = 0
        try:
            self._send(PREFACE + SettingsFrame(0).serialize())
            self._receive(1)  # the server's settings
            self._send(b"".join(begun(stream, path) for stream in self._left))
        except OSError:
            self.close()
            raise

    def run(self, seconds: float) -> None:
        """Send what the server takes, until it takes nothing for this time, or closes."""
        last = time.monotonic()
        with contextlib.suppress(OSError):
            while self._left and time.monotonic() < last + seconds:
                if self._send_data():
                    last = time.monotonic()
                self._receive(0.05)

    @property
    def unfinished(self) -> int:
        """How many calls the server has not ended."""
        return len(self._left)

    def close(self) -> None:
        """Close the connection."""
        self._socket.close()

    def _send(self, content: bytes) -> None:
        with contextlib.suppress(OSError):
            self._socket.sendall(content)

    def _send_data(self) -> int:
        """Send a frame of each call whose window is open; return how many bytes."""
        before = self.sent_bytes
        for stream, left in [*self._left.items()]:
            size = min(len(left), self._windows[stream], self._window, FRAME_BYTES)
            if size > 0:
                self._socket.sendall(DataFrame(stream, bytes(left[:size])).serialize())
                self._left[stream] = left[size:]
                self._windows[stream] -= size
                self._window -= size
                self.sent_bytes += size
        return self.sent_bytes - before

    def _receive(self, seconds: float) -> None:
        """Handle what has come from the server, or comes in this time."""
        while select.select([self._socket], [], [], seconds)[0]:
            part = self._socket.recv(65_536)
            if not part:
                raise ConnectionResetError
            self._received += part
            seconds = 0
        while len(self._received) >= 9:
            frame, size = Frame.parse_frame_header(memoryview(self._received[:9]))
            if len(self._received) < 9 + size:
                break
            frame.parse_body(memoryview(self._received[9 : 9 + size]))
            self._received = self._received[9 + size :]
            self._handle(frame)

    def _handle(self, frame: Frame) -> None:
        if isinstance(frame, WindowUpdateFrame) and frame.stream_id == 0:
            self._window += frame.window_increment
        elif isinstance(frame, WindowUpdateFrame) and frame.stream_id in self._windows:
            self._windows[frame.stream_id] += frame.window_increment
        elif isinstance(frame, RstStreamFrame):
            self._left.pop(frame.stream_id, None)
        elif isinstance(frame, SettingsFrame) and "ACK" not in frame.flags:
            if new := frame.settings.get(SettingsFrame.INITIAL_WINDOW_SIZE):
                self._windows = {k: v + new - self._initial for k, v in self._windows.items()}
                self._initial = new
            self._send(SettingsFrame(0, flags=["ACK"]).serialize())


def continued(block: bytes, begins: bytes = b"") -> Callable[[], Iterator[bytes]]:
    """Return a flood of header blocks that never end: `begins`, then `block` again and again."""

    def parts() -> Iterator[bytes]:
        yield HeadersFrame(1, headers(AUTHORIZE)).serialize()
        yield ContinuationFrame(1, begins).serialize()
        yield from itertools.repeat(ContinuationFrame(1, block).serialize())

    return parts


def repeated(frame: Frame, begins: bytes = b"") -> Callable[[], Iterator[bytes]]:
    """Return a flood of one frame."""

    def parts() -> Iterator[bytes]:
        yield begins
        yield from itertools.repeat(frame.serialize())

    return parts


def calls_taken_back() -> Iterator[bytes]:
    """Yield calls without end, each of which is taken back at once."""
    for stream in range(1, 2**31, 2):
        yield begun(stream, AUTHORIZE) + RstStreamFrame(stream, CANCEL).serialize()


_FIELD = b"\0\4name" + bytes((100,)) + b"v" * 100
"""A literal without indexing."""
_LARGE_FIELD = b"\x40\4name" + b"\x7f\xb9\x16" + b"v" * 3000
"""A literal that enters the table, and is 62 from then on."""
_ENDLESS_FIELD = b"\0\4name" + b"\x7f\x80\xff\xff\xff\x07"
"""The beginning of a literal of two gigabytes."""

FLOODS: dict[str, Callable[[], Iterator[bytes]]] = {
    "header blocks that never end": continued(_FIELD * 150),
    "a header that never ends": continued(b"v" * 16_000, _ENDLESS_FIELD),
    "indexed headers that never end": continued(b"\x82" * 16_000),
    "a large header, repeated": continued(b"\xbe" * 16_000, _LARGE_FIELD),
    "empty continuations": continued(b""),
    "settings": repeated(SettingsFrame(0, {SettingsFrame.INITIAL_WINDOW_SIZE: 65_535})),
    "pings": repeated(PingFrame(0, b"12345678")),
    "priorities": repeated(PriorityFrame(1, depends_on=0, stream_weight=16)),
    "unknown frames": repeated(ExtensionFrame(0xEE, 1, body=bytes(16_000))),
    "window updates": repeated(WindowUpdateFrame(0, 1)),
    "empty data": repeated(DataFrame(1, b""), begun(1, STREAM)),
}
"""What a peer sends without end, on one connection."""


def flood(address: str, parts: Iterator[bytes], seconds: float) -> int:
    """Send as much as a server takes in this time, or until it closes; return how many bytes.

    What it sends is read, or not even a flood of pings would be answered.
    """
    until, sent_bytes = time.monotonic() + seconds, 0
    with connect(address) as connection, contextlib.suppress(OSError):
        connection.sendall(OPENING)
        while time.monotonic() < until:
            some = b"".join(itertools.islice(parts, 64))
            connection.sendall(some)
            sent_bytes += len(some)
            while select.select([connection], [], [], 0)[0]:
                if not connection.recv(65_536):
                    return sent_bytes
    return sent_bytes
