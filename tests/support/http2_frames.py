"""HTTP/2 by hand: a client that begins calls, and never ends their requests."""

import contextlib
import select
import socket
import time

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
FRAME_BYTES = 16_384
DATA, HEADERS, RST_STREAM, SETTINGS, GOAWAY, WINDOW_UPDATE = 0, 1, 3, 4, 7, 8
INITIAL_WINDOW_SIZE = 4


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    """Return a frame's bytes."""
    head = len(payload).to_bytes(3, "big") + bytes((kind, flags))
    return head + stream.to_bytes(4, "big") + payload


def headers(path: str) -> bytes:
    """Return the header block of a call, of literals alone."""
    fields = (
        (b":method", b"POST"), (b":scheme", b"http"), (b":authority", b"x"), (b"te", b"trailers"),
        (b":path", path.encode()), (b"content-type", b"application/grpc"),
    )  # fmt: skip
    return b"".join(
        b"\0" + bytes((len(name),)) + name + bytes((len(value),)) + value for name, value in fields
    )


class UnfinishedCalls:
    """Calls on one connection, each of whose requests is sent but for the last byte.

    It sends as fast as the windows allow that the server announces.
    """

    def __init__(self, address: str, path: str, calls: int, message_bytes: int) -> None:
        """Open the connection, and begin every call, more than the server allows or not."""
        host, _, port = address.rpartition(":")
        self._socket = socket.create_connection((host, int(port)), timeout=10)
        self._received = b""
        self._initial, self._window = 65_535, 65_535
        message = b"\0" + message_bytes.to_bytes(4, "big") + bytes(message_bytes - 1)
        self._left = {number * 2 + 1: memoryview(message) for number in range(calls)}
        self._windows = dict.fromkeys(self._left, self._initial)
        self.sent_bytes = 0
        begin = b"".join(frame(HEADERS, 4, stream, headers(path)) for stream in self._left)
        self._send(PREFACE + frame(SETTINGS, 0, 0))
        self._receive(1)  # the server's settings
        self._send(begin)

    def run(self, seconds: float) -> None:
        """Send what the server takes, until it takes no more for so long or closes."""
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
                self._socket.sendall(frame(DATA, 0, stream, bytes(left[:size])))
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
            size = int.from_bytes(self._received[:3], "big")
            if len(self._received) < 9 + size:
                break
            kind, flags = self._received[3:5]
            stream = int.from_bytes(self._received[5:9], "big")
            payload, self._received = self._received[9 : 9 + size], self._received[9 + size :]
            self._handle(kind, flags, stream, payload)

    def _handle(self, kind: int, flags: int, stream: int, payload: bytes) -> None:
        if kind == WINDOW_UPDATE and stream == 0:
            self._window += int.from_bytes(payload, "big")
        elif kind == WINDOW_UPDATE and stream in self._windows:
            self._windows[stream] += int.from_bytes(payload, "big")
        elif kind == RST_STREAM:
            self._left.pop(stream, None)
        elif kind == SETTINGS and not flags:
            for at in range(0, len(payload), 6):
                if int.from_bytes(payload[at : at + 2], "big") == INITIAL_WINDOW_SIZE:
                    new = int.from_bytes(payload[at + 2 : at + 6], "big")
                    self._windows = {k: v + new - self._initial for k, v in self._windows.items()}
                    self._initial = new
            self._send(frame(SETTINGS, 1, 0))


def reset_calls(address: str, path: str, calls: int) -> None:
    """Begin calls one after the other on a connection, and take each back at once."""
    host, _, port = address.rpartition(":")
    cancel = (8).to_bytes(4, "big")
    with socket.create_connection((host, int(port)), timeout=30) as connection:
        connection.sendall(PREFACE + frame(SETTINGS, 0, 0) + frame(SETTINGS, 1, 0))
        with contextlib.suppress(OSError):  # the server may close it
            for stream in range(1, 2 * calls, 2):
                call = frame(HEADERS, 4, stream, headers(path)) + frame(
                    RST_STREAM, 0, stream, cancel
                )
                connection.sendall(call)
                while select.select([connection], [], [], 0)[0]:
                    if not connection.recv(65_536):
                        return
