"""The standard health service: is it alive, is it ready, for anybody who probes."""

import asyncio
from collections.abc import Sequence
from typing import Any

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from sidecar.server.addresses import MAX_PORT, ListenError

LIVENESS = "liveness"
READINESS = "readiness"

MAX_WATCHERS = 64

_SERVING = health_pb2.HealthCheckResponse.SERVING
_NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING
_UNKNOWN = health_pb2.HealthCheckResponse.SERVICE_UNKNOWN


class Health(health.aio.HealthServicer):  # type: ignore[misc] # it has no types
    """The standard health service, whose watchers do not keep a server from stopping.

    A sidecar is alive as long as it answers. Whether it is ready is for others to say.
    """

    def __init__(self, services: Sequence[str]) -> None:
        """Be alive, but not ready yet; nor are the services, by their full names."""
        super().__init__()
        self._ready_names = ("", READINESS, *services)
        self._watching: set[asyncio.Task[None]] = set()
        self._changed = asyncio.Event()
        self._server_status |= dict.fromkeys(self._ready_names, _NOT_SERVING)
        self._server_status[LIVENESS] = _SERVING
        self._stopping = False
        self.ready = False

    def add_to(self, server: grpc.aio.Server) -> None:
        """Answer on this server."""
        health_pb2_grpc.add_HealthServicer_to_server(self, server)

    async def Watch(self, request: Any, context: Any) -> None:  # noqa: N802 - the RPC's name
        """Tell each change, until the client or the server ends it."""
        if len(self._watching) >= MAX_WATCHERS:
            await context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "too many watch: use Check")
        recorder = asyncio.create_task(self._recorder(request.service, context))
        self._watching.add(recorder)
        try:
            await asyncio.wait([recorder])
        finally:
            recorder.cancel()
            self._watching.discard(recorder)

    async def _recorder(self, name: str, context: Any) -> None:
        """Tell each change of one name.

        Its own, since grpc_health's holds a lock while it writes: a peer that reads nothing
        would keep the status from ever changing, and so the server from stopping.
        """
        told = None
        while True:
            changed = self._changed  # before the status is looked at: no change is missed
            status = self._server_status.get(name, _UNKNOWN)
            if status != told:
                told = status
                await context.write(health_pb2.HealthCheckResponse(status=status))
            await changed.wait()

    async def report(self, *, ready: bool) -> None:
        """Say whether calls can be decided from now on."""
        self.ready = ready and not self._stopping
        for name in self._ready_names:
            await self.set(name, _SERVING if self.ready else _NOT_SERVING)
        self._changed.set()
        self._changed = asyncio.Event()

    async def stop(self) -> None:
        """Never be ready again."""
        self._stopping = True
        await self.report(ready=False)

    def end_watches(self) -> None:
        """End every watch; they have been told NOT_SERVING."""
        for recorder in self._watching:
            recorder.cancel()


MAX_CONNECTIONS = 64
_OPTIONS = (
    ("grpc.max_receive_message_length", 1024),
    ("grpc.max_concurrent_streams", 16),
    ("grpc.max_metadata_size", 4096),
    ("grpc.so_reuseport", 0),
    # Whoever connects and does nothing must not keep the kubelet out for long.
    ("grpc.max_allowed_incoming_connections", MAX_CONNECTIONS),
    ("grpc.server_handshake_timeout_ms", 2000),
    ("grpc.max_connection_idle_ms", 5_000),
    # Nor whoever has a call that never ends: who watches calls anew.
    ("grpc.max_connection_age_ms", 5_000),
    ("grpc.max_connection_age_grace_ms", 1000),
)


class HealthListener:
    """Answers grpc.health.v1 on one address, which may be any."""

    def __init__(self, health: Health, address: str) -> None:
        """Bind the address. Raises ListenError."""
        self._server = grpc.aio.server(options=_OPTIONS)
        health.add_to(self._server)
        host, _, number = address.rpartition(":")
        usable = host and number.isascii() and number.isdecimal() and int(number) <= MAX_PORT
        try:  # gRPC would take a port of 65,536 for 0
            port = self._server.add_insecure_port(address) if usable else 0
        except RuntimeError:
            port = 0
        if not port:
            raise ListenError(f"{address}: cannot be listened on: it has to be HOST:PORT, and free")
        self.address = f"{host}:{port}"

    async def start(self) -> None:
        """Answer."""
        await self._server.start()

    async def stop(self) -> None:
        """Answer no more."""
        await self._server.stop(0)
