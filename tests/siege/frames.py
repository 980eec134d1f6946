"""HTTP/2 below gRPC: requests that never end, and frames that make no sense."""

import contextlib
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from random import Random

from support.http2_frames import FLOODS, PREFACE, UnfinishedCalls, flood, headers
from support.sidecar_process import RunningSidecar

from sidecar.server.listener import MAX_REQUEST_BYTES
from siege.attack import Fuzzer

PATHS = (
    "/sidecar.v1.AuthorizationService/Authorize",
    "/sidecar.v1.AuthorizationService/AuthorizeStream",
    "/grpc.health.v1.Health/Check",
    "/grpc.health.v1.Health/Watch",
    "/x",
)
MAX_CONNECTIONS = 24
MAX_CALLS = 1000
"""Of all connections of one volley."""
RUN_SECONDS = 0.3
DATA, HEADERS, SETTINGS = 0, 1, 4
KINDS = (*range(11), 0xEE)
"""Every type of frame that HTTP/2 has, and one that it does not have."""
IDENTIFIERS = (0, 1, 1, 1, 2, 3, 5, 2**31 - 1)
MAX_FRAMES = 40
FLOOD_PARTS = 0.02
"""Of the inputs, how many are a flood."""
MAX_FLOOD_SECONDS = 1.0


class UnfinishedRequests(Fuzzer):
    """Volleys of calls, each of whose requests lacks its last byte."""

    name = "unfinished requests"
    parameters = (
        f"up to {MAX_CONNECTIONS} connections, {MAX_CALLS} calls, {MAX_REQUEST_BYTES:,} bytes each"
    )

    def attack(self, sidecar: RunningSidecar) -> Iterator[None]:
        """Send as much of a volley's requests as the sidecar takes, and disconnect."""
        while True:
            connections = self.random.randint(1, MAX_CONNECTIONS)
            calls = self.random.randint(1, MAX_CALLS // connections)
            size = self.random.choice((100, 8_192, MAX_REQUEST_BYTES, MAX_REQUEST_BYTES + 1))
            with contextlib.ExitStack() as opened:
                volley = []
                for _ in range(connections):
                    path = self.random.choice(PATHS)
                    volley.append(UnfinishedCalls(sidecar.addresses[0], path, calls, size))
                    opened.callback(volley[-1].close)
                with ThreadPoolExecutor(connections) as threads:
                    list(threads.map(lambda one: one.run(RUN_SECONDS), volley))
            yield


class Frames(Fuzzer):
    """Frames of any type, flags, stream and content, on one connection after the other; floods."""

    name = "frames"
    parameters = (
        f"up to {MAX_FRAMES} frames a connection, of any type, flags, stream and content;"
        f" floods of {len(FLOODS)} kinds, up to {MAX_FLOOD_SECONDS:.0f} s"
    )

    def attack(self, sidecar: RunningSidecar) -> Iterator[None]:
        """Send a connection's frames, and read what comes until the other side closes or waits."""
        host, _, port = sidecar.addresses[0].rpartition(":")
        while True:
            if self.random.random() < FLOOD_PARTS:
                kind = self.random.choice([*FLOODS])
                seconds = self.random.uniform(0, MAX_FLOOD_SECONDS)
                flood(sidecar.addresses[0], FLOODS[kind](), seconds)
                yield
            frames = [_frame(self.random) for _ in range(self.random.randint(1, MAX_FRAMES))]
            first = frame(SETTINGS, 0, 0) if self.random.random() < 0.9 else b""
            with (
                contextlib.suppress(OSError),
                socket.create_connection((host, int(port)), timeout=1) as connection,
            ):
                connection.sendall(PREFACE + first + b"".join(frames))
                connection.shutdown(socket.SHUT_WR)
                while connection.recv(65_536):
                    pass
            yield


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    """Return a frame's bytes, also of one that no library would make."""
    head = len(payload).to_bytes(3, "big") + bytes((kind, flags))
    return head + stream.to_bytes(4, "big") + payload


def _frame(random: Random) -> bytes:
    """Return a frame, half of them with a header block that starts a call."""
    kind, flags = random.choice(KINDS), random.choice((0, 1, 4, 5, 8, 0x20, 0x24, 0xFF))
    content = random.choice(
        (
            b"",
            headers(random.choice(PATHS)),
            headers(random.choice(PATHS)) + random.randbytes(random.randint(1, 50)),
            bytes(4),
            bytes(5),
            b"\x00\x04" + random.randbytes(4),
            b"\x00\x01\xff\xff\xff\xff" * 20,
            b"\xbe" * random.choice((10, 10_000)),
            b"\x3f\xff\xff\xff\xff\xff\x7f",
            b"\x40\x04abcd\x7f\xff\xff\xff\x7f",
            random.randbytes(random.randint(1, 100)),
            bytes(16_384),
        )
    )
    made = frame(kind, flags, random.choice(IDENTIFIERS), content)
    return made[: random.randint(0, len(made))] if random.random() < 0.02 else made
