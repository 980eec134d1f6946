"""Streams that are opened and not used: idle, unread, malformed, or cancelled."""

import threading
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

import grpc
from mistral_spend.v1 import authorization_pb2 as pb
from mistral_spend.v1.authorization_pb2_grpc import AuthorizationServiceStub
from support.identities import Issuer
from support.sidecar_process import RunningSidecar, chat, stub, tester

from siege.attack import Fuzzer
from siege.honest_caller import HONEST
from siege.tokens import arguments, lasting

HOSTILE = ("eve", "mallory")
"""Two callers, whose shares leave a third one places."""
MAX_OPEN = 40
SMALL_WINDOW = [("grpc.http2.lookahead_bytes", 1), ("grpc.http2.bdp_probe", 0)]
TIMEOUT_SECONDS = 30.0


class _Open(NamedTuple):
    """A stream, and what lets its requests end."""

    call: Any
    done: threading.Event

    def end(self, *, cancelled: bool) -> None:
        """End the requests; or the whole call, as a client does that has gone."""
        if cancelled:
            self.call.cancel()
        self.done.set()


class Streams(Fuzzer):
    """Streams of two callers without end, of which no response is read; a third has its own."""

    name = "streams"
    parameters = (
        f"{len(HOSTILE)} callers, {MAX_OPEN} streams at once: idle, unread, malformed, cancelled"
    )

    def __init__(self, folder: Path, policies: Path, random: Random) -> None:
        """Make an issuer of tokens, by which callers have shares."""
        super().__init__(folder, policies, random)
        issuer = Issuer()
        self.arguments = arguments(issuer, folder)
        self.credentials = lasting(issuer, HONEST)
        self._third = lasting(issuer, "ada")
        self._hostile = [lasting(issuer, name) for name in HOSTILE]

    def attack(self, sidecar: RunningSidecar) -> Iterator[None]:
        """Open a stream, or end one; now and then the third caller uses one."""
        opened, number, own = deque[_Open](), 0, stub(sidecar.addresses[0])
        with grpc.insecure_channel(sidecar.addresses[0], SMALL_WINDOW) as channel:
            hostile = AuthorizationServiceStub(channel)  # type: ignore[no-untyped-call]
            try:
                while True:
                    number += 1
                    opened.append(self._opened(hostile, number))
                    if len(opened) > MAX_OPEN or self.random.random() < 0.3:
                        opened.rotate(self.random.randrange(len(opened)))
                        opened.popleft().end(cancelled=self.random.random() < 0.5)
                    if number % 10 == 0:
                        request = _request(f"third-{number}")
                        answers = own.AuthorizeStream(
                            iter([request]), metadata=self._third, timeout=TIMEOUT_SECONDS
                        )
                        assert [one.request_id for one in answers] == [request.request_id]
                    yield
            finally:
                for one in opened:
                    one.end(cancelled=True)

    def _opened(self, hostile: AuthorizationServiceStub, number: int) -> _Open:
        done = threading.Event()
        requests = [_request(f"{number}-{n}") for n in range(self.random.choice((0, 1, 3, 20)))]
        if self.random.random() < 0.1:
            requests.append(pb.AuthorizeRequest(request_id="malformed"))

        def sent() -> Iterator[pb.AuthorizeRequest]:
            yield from requests
            done.wait()

        metadata = self.random.choice(self._hostile)
        return _Open(hostile.AuthorizeStream(sent(), metadata=metadata), done)


def _request(request_id: str) -> pb.AuthorizeRequest:
    return chat(tester(id=""), model="small-1", request_id=request_id, hold_ttl_seconds=60)
