"""Calls whose headers are odd: deadlines, encodings, tokens, traces, and names of all kinds."""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from random import Random

from mistral_spend.v1 import authorization_pb2 as pb
from support.http2_frames import PREFACE
from support.http_calls import connect
from support.outside import METRICS
from support.sidecar_process import RunningSidecar, chat, tester

from siege.attack import Fuzzer
from siege.frames import DATA, HEADERS, PATHS, SETTINGS, frame
from siege.messages import EVE

END_STREAM, END_HEADERS = 1, 4
MAX_CALLS = 20

NAMES = [b"grpc-timeout", b"grpc-encoding", b"grpc-accept-encoding", b"authorization", b"authorization-bin",
         b"traceparent", b"tracestate", b"te", b"content-type", b"content-length", b"user-agent", b"x-bin",
         b":authority", b":path", b":method", b":status", b"X-Upper", b"connection", b"host", b"grpc-status",
         b"grpc-tags-bin", b"grpc-trace-bin", b"lb-token", b"", b"x y"]  # fmt: skip
VALUES = [b"", b"0n", b"1n", b"99999999H", b"100000000H", b"-1S", b"1", b"x", b"gzip", b"deflate,gzip", b"identity",
          b"Bearer x", b"***", b"AAAA", b"=", b"\x00", b"\xff\xfe", b"a\r\nb", b" a ", b"/x", b"GET", b"trailers",
          b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", b"00-" + b"0" * 32 + b"-0-01",
          b"application/grpc+json", b"application/json", b"18446744073709551616", b"x" * 120]  # fmt: skip
REQUEST = chat(tester(id=EVE), model="small-1", dry_run=True).SerializeToString()


class Calls(Fuzzer):
    """Calls with a good request, whose headers are added, repeated or replaced."""

    name = "headers of calls"
    parameters = f"up to {MAX_CALLS} calls a connection; odd names, values, repeats and deadlines"

    def __init__(self, folder: Path, policies: Path, random: Random) -> None:
        """Let calls be counted, which reads their headers too."""
        super().__init__(folder, policies, random)
        self.arguments = METRICS

    def attack(self, sidecar: RunningSidecar) -> Iterator[None]:
        """Send a connection's calls, and read what comes until the other side closes."""
        while True:
            sent = PREFACE + frame(SETTINGS, 0, 0) + frame(SETTINGS, 1, 0)
            for number in range(self.random.randint(1, MAX_CALLS)):
                sent += self._call(2 * number + 1)
            with connect(sidecar.addresses[0]) as connection, contextlib.suppress(OSError):
                connection.sendall(sent)
                connection.settimeout(0.05)
                while connection.recv(65_536):
                    pass
            yield

    def _call(self, stream: int) -> bytes:
        fields = [
            (b":method", b"POST"), (b":scheme", b"http"), (b":authority", b"x"), (b"te", b"trailers"),
            (b":path", self.random.choice(PATHS).encode()), (b"content-type", b"application/grpc"),
        ]  # fmt: skip
        for _ in range(self.random.choice((1, 1, 2, 4))):
            odd = (self.random.choice(NAMES), self.random.choice(VALUES))
            fields.insert(self.random.randint(0, len(fields)), odd)
            if self.random.random() < 0.2:
                del fields[self.random.randrange(len(fields))]
        block = b"".join(_literal(*field) for field in fields)
        content = self.random.choice(
            (REQUEST, b"", pb.SettleRequest(hold_id="x").SerializeToString())
        )
        message = self.random.choice((b"\0", b"\1")) + len(content).to_bytes(4, "big") + content
        return frame(HEADERS, END_HEADERS, stream, block) + frame(DATA, END_STREAM, stream, message)


def _literal(name: bytes, value: bytes) -> bytes:
    """Return a header that is written out, and not remembered by its receiver."""
    return b"\0" + bytes((len(name),)) + name + bytes((len(value),)) + value
