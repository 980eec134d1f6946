"""Connections that say nothing, or too little, on every listener at once."""

import contextlib
import socket
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from random import Random

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc
from support.http2_frames import PREFACE
from support.http_calls import connect, send
from support.outside import HEALTH, METRICS, address
from support.sidecar_process import RunningSidecar

from siege.attack import Fuzzer
from siege.frames import SETTINGS, frame

MAX_OPEN = 300
TIMEOUT_SECONDS = 30.0
METRICS_PAGE = b"GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n"
AUTHZEN_METADATA = b"GET /.well-known/authzen-configuration HTTP/1.1\r\nHost: a\r\n\r\n"
BEGINNINGS = [b"", b"G", METRICS_PAGE, AUTHZEN_METADATA, PREFACE, PREFACE + frame(SETTINGS, 0, 0),
              b"POST /access/v1/evaluation HTTP/1.1\r\nHost: a\r\nContent-Length: 99\r\n\r\n{"]  # fmt: skip


class Connections(Fuzzer):
    """Connections that are opened and left alone; probes, scrapers and others are still answered."""

    name = "connections"
    parameters = (
        f"up to {MAX_OPEN} open, each with a request's beginning; all listeners, probed meanwhile"
    )

    def __init__(self, folder: Path, policies: Path, random: Random) -> None:
        """Open every listener that others than apps use."""
        super().__init__(folder, policies, random)
        self.arguments = (*METRICS, *HEALTH, "--authzen-listen", "127.0.0.1:0")

    def attack(self, sidecar: RunningSidecar) -> Iterator[None]:
        """Open a connection, let another go, and now and then ask as others do."""
        where = {name: address(sidecar, name) for name in ("AUTHZEN", "metrics", "health")}
        left_alone = deque[socket.socket]()
        try:
            while True:
                # Apps keep the connections that they have; new ones may find no place.
                target = self.random.choice([*where.values(), sidecar.addresses[0]])
                left_alone.append(self._opened(target))
                if len(left_alone) > MAX_OPEN or self.random.random() < 0.2:
                    left_alone.rotate(self.random.randrange(len(left_alone)))
                    left_alone.popleft().close()
                if self.random.random() < 0.2:
                    _ask(where)
                yield
        finally:
            for connection in left_alone:
                connection.close()

    def _opened(self, where: str) -> socket.socket:
        connection = connect(where)
        beginning = self.random.choice(BEGINNINGS)
        with contextlib.suppress(ConnectionError):  # it may be closed already
            connection.sendall(beginning[: self.random.randint(0, len(beginning))])
        return connection


def _ask(where: dict[str, str]) -> None:
    """Ask each listener what it is for."""
    for name, request in (("metrics", METRICS_PAGE), ("AUTHZEN", AUTHZEN_METADATA)):
        assert [answer.status for answer in send(where[name], request)] == [200], name
    with grpc.insecure_channel(where["health"]) as channel:
        probe = health_pb2_grpc.HealthStub(channel)
        answer = probe.Check(health_pb2.HealthCheckRequest(), timeout=TIMEOUT_SECONDS)
    assert answer.status == health_pb2.HealthCheckResponse.SERVING, answer
