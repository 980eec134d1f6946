"""grpc.health.v1: liveness and readiness, for probes."""

import asyncio
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import grpc
from google.protobuf.message import Message
from grpc_health.v1 import health, health_pb2

from sidecar.contract.validation import parse
from sidecar.domain.errors import SidecarError
from sidecar.server.addresses import MAX_PORT, ListenError
from sidecar.server.errors import Context, fail, serialize
from sidecar.server.method_server import Methods, MethodServer
from sidecar.server.unfinished import UnfinishedRequests
from sidecar.web.relay import Relay

SERVICE: str = health.SERVICE_NAME
LIVENESS = "liveness"
READINESS = "readiness"

MAX_WATCHERS = 32

_SERVING = health_pb2.HealthCheckResponse.SERVING
_NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING
_UNKNOWN = health_pb2.HealthCheckResponse.SERVICE_UNKNOWN


class Health(health.aio.HealthServicer):  # type: ignore[misc] # grpc_health is untyped
    """The standard health service, whose Watch calls do not keep a server from stopping.

    A sidecar that responds is alive. Its readiness is set by `report`.
    """

    def __init__(self, services: Sequence[str]) -> None:
        """Start alive and not ready; `services` are full names that have the same readiness."""
        super().__init__()
        self._ready_names = ("", READINESS, *services)
        self._watchers: set[asyncio.Task[None]] = set()
        self._changed = asyncio.Event()
        self._server_status |= dict.fromkeys(self._ready_names, _NOT_SERVING)
        self._server_status[LIVENESS] = _SERVING
        self._stopping = False
        self.problem = "starting"
        """Why calls cannot be decided now; empty while they can."""

    @property
    def ready(self) -> bool:
        """Whether calls can be decided now."""
        return not self.problem

    def methods(self, unfinished: UnfinishedRequests) -> Methods:
        """Return the RPCs for a server, whose requests are read by `unfinished`."""

        async def read(context: Context) -> Message:
            try:
                encoded = await unfinished.read(context)
                request: Message = parse(health_pb2.HealthCheckRequest, encoded)
            except SidecarError as error:
                await fail(context, error)
            return request

        async def check(_requests: object, context: Context) -> Message:
            response: Message = await self.Check(await read(context), context)
            return response

        async def watch(_requests: object, context: Context) -> None:
            await self.Watch(await read(context), context)

        return {
            "Check": grpc.stream_unary_rpc_method_handler(check, response_serializer=serialize),
            "Watch": grpc.stream_stream_rpc_method_handler(watch, response_serializer=serialize),
        }

    async def Watch(self, request: Any, context: Any) -> None:  # noqa: N802 - the RPC's name
        """Send each change of a service's status, until the client or the server ends it."""
        if len(self._watchers) >= MAX_WATCHERS:
            await context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "too many Watch calls")
        watcher = asyncio.create_task(self._send_changes(request.service, context))
        self._watchers.add(watcher)
        try:
            await asyncio.wait([watcher])
        finally:
            watcher.cancel()
            self._watchers.discard(watcher)

    async def _send_changes(self, name: str, context: Any) -> None:
        """Send each change of one service's status.

        grpc_health's own Watch holds a lock while it writes: a peer that does not read
        would keep the status from changing, and the server from stopping.
        """
        sent = None
        while True:
            changed = self._changed  # read before the status, so that no change is missed
            status = self._server_status.get(name, _UNKNOWN)
            if status != sent:
                sent = status
                await context.write(health_pb2.HealthCheckResponse(status=status))
            await changed.wait()

    async def report(self, problem: str) -> None:
        """Set why calls cannot be decided from now on; empty if they can."""
        self.problem = "stopping" if self._stopping else problem
        for name in self._ready_names:
            await self.set(name, _SERVING if self.ready else _NOT_SERVING)
        self._changed.set()
        self._changed = asyncio.Event()

    async def stop(self) -> None:
        """Become not ready, for good."""
        self._stopping = True
        await self.report("stopping")

    def end_watches(self) -> None:
        """End every Watch call; NOT_SERVING has been sent to them."""
        for watcher in self._watchers:
            watcher.cancel()


MAX_CONNECTIONS = 64
"""At this number, the oldest is closed for a new one: so a probe always gets in."""
_MAX_REQUEST_BYTES = 1024
_OPTIONS = (
    ("grpc.max_receive_message_length", _MAX_REQUEST_BYTES),
    ("grpc.max_concurrent_streams", 16),
    ("grpc.max_metadata_size", 4096),
    ("grpc.server_handshake_timeout_ms", 2000),
    ("grpc.max_connection_idle_ms", 5_000),
    # A Watch has to be called again, so that its connection is not open for good.
    ("grpc.max_connection_age_ms", 5_000),
    ("grpc.max_connection_age_grace_ms", 1000),
)


class HealthListener:
    """Serves grpc.health.v1 alone on an address, which need not be loopback.

    gRPC listens on a Unix socket in a folder that only this user can open.
    """

    def __init__(self, health: Health, address: str) -> None:
        """Bind the address. Raises ListenError."""
        host, _, number = address.rpartition(":")
        if not (host and number.isascii() and number.isdecimal() and int(number) <= MAX_PORT):
            raise ListenError(f"{address}: {_UNUSABLE}")
        self._server = MethodServer(_OPTIONS)
        self._server.add_registered_method_handlers(
            SERVICE, health.methods(UnfinishedRequests(_MAX_REQUEST_BYTES))
        )
        try:
            self._folder = TemporaryDirectory(prefix="sidecar-health-")
            path = Path(self._folder.name) / "s"
            self._server.add_insecure_port(f"unix:{path}")
        except (OSError, RuntimeError):
            raise ListenError(f"{address}: {_NO_FOLDER}") from None
        try:
            self._relay = Relay(host.strip("[]"), int(number), path, MAX_CONNECTIONS)
        except OSError:
            raise ListenError(f"{address}: {_UNUSABLE}") from None
        self.address = f"{host}:{self._relay.port}"

    async def start(self) -> None:
        """Start to serve."""
        await self._server.start()
        await self._relay.start()

    async def stop(self) -> None:
        """Stop at once."""
        await self._relay.stop()
        await self._server.stop(0)
        self._folder.cleanup()


_NO_FOLDER = "it needs a folder for temporary files, with a short path: set TMPDIR"
_UNUSABLE = "cannot listen there: it has to be HOST:PORT, with a free port"
