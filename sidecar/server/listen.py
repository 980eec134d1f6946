"""Where the sidecar may be reached: loopback and Unix sockets, nothing else."""

import asyncio
import ipaddress
import socket
from typing import Any

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from sidecar.server.service import SERVICE, AuthorizationService

MAX_PORT = 65_535
MAX_REQUEST_BYTES = 262_144
MAX_CONCURRENT_STREAMS = 1024

_OPTIONS = (
    ("grpc.max_receive_message_length", MAX_REQUEST_BYTES),
    ("grpc.max_concurrent_streams", MAX_CONCURRENT_STREAMS),
    ("grpc.max_metadata_size", 16_384),
    # Without this, a second sidecar would share the port instead of failing.
    ("grpc.so_reuseport", 0),
)


REFUSE_SECONDS = 0.2
"""How long new calls are refused by name before the listeners close."""


class ListenError(ValueError):
    """An address cannot be listened on; the text says why."""


def check_address(address: str) -> None:
    """Refuse any address that another machine could reach.

    Raises ListenError.
    """
    if address.startswith("unix:"):
        if not address.removeprefix("unix:"):
            raise ListenError("unix: needs a path, as in unix:/run/sidecar/sidecar.sock")
        return
    host, _, port = address.rpartition(":")
    if not (port.isascii() and port.isdecimal()) or int(port) > MAX_PORT:
        raise ListenError(f"{address}: not HOST:PORT or unix:PATH")
    if ":" in host:
        host = host[1:-1] if host.startswith("[") and host.endswith("]") else ""
    try:
        loopback = host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        loopback = False
    if not loopback:
        raise ListenError(
            f"{address}: not a loopback address; callers are not authenticated, so listen on"
            " 127.0.0.1:PORT, [::1]:PORT or unix:PATH"
        )


class _Health(health.aio.HealthServicer):  # type: ignore[misc] # it has no types
    """The standard health service, whose watchers do not keep a server from stopping."""

    def __init__(self) -> None:
        super().__init__()
        self._watching: set[asyncio.Task[None]] = set()

    async def Watch(self, request: Any, context: Any) -> None:  # noqa: N802 - the RPC's name
        """Tell each change, until the client or the server ends it."""
        watch = asyncio.create_task(super().Watch(request, context))
        self._watching.add(watch)
        try:
            await asyncio.wait([watch])
        finally:
            watch.cancel()
            self._watching.discard(watch)

    def stop(self) -> None:
        """End every watch; they have been told NOT_SERVING."""
        for watch in self._watching:
            watch.cancel()


class Server:
    """One gRPC server on all its addresses, with health and on demand reflection."""

    def __init__(
        self, service: AuthorizationService, addresses: list[str], *, reflect: bool
    ) -> None:
        """Bind every address. Raises ListenError."""
        self._service = service
        self._server = grpc.aio.server(options=_OPTIONS)
        self._server.add_generic_rpc_handlers((service.handlers(),))
        self._health = _Health()
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)
        if reflect:
            names = (SERVICE, health.SERVICE_NAME, reflection.SERVICE_NAME)
            reflection.enable_server_reflection(names, self._server)
        self.addresses = [self._bind(address) for address in addresses]

    async def start(self) -> None:
        """Answer, and say so."""
        await self._server.start()
        await self._report(health_pb2.HealthCheckResponse.SERVING)

    async def stop(self, grace_seconds: float) -> None:
        """Say that no more is answered, and let calls in flight finish."""
        await self._report(health_pb2.HealthCheckResponse.NOT_SERVING)
        self._service.stop()
        # Those who call meanwhile are told so; gRPC would only cancel them.
        await asyncio.sleep(REFUSE_SECONDS)
        self._health.stop()
        await self._server.stop(grace_seconds)

    async def _report(self, status: "health_pb2.HealthCheckResponse.ServingStatus") -> None:
        for name in ("", SERVICE):
            await self._health.set(name, status)

    def _bind(self, address: str) -> str:
        """Listen, and return the address with the port that was chosen for port 0."""
        check_address(address)
        _refuse_socket_in_use(address)
        try:
            port = self._server.add_insecure_port(address)
        except RuntimeError:
            port = 0
        if address.startswith("unix:"):
            if not port:
                raise ListenError(f"{address}: cannot be listened on; is its folder there?")
            return address
        if not port:
            raise ListenError(f"{address}: cannot be listened on; is the port taken?")
        return f"{address.rpartition(':')[0]}:{port}"


def _refuse_socket_in_use(address: str) -> None:
    """Refuse a Unix socket that somebody answers on: gRPC would take its place.

    A socket file that a killed process left behind is nobody's.
    """
    if not address.startswith("unix:"):
        return
    path = address.removeprefix("unix:")
    with socket.socket(socket.AF_UNIX) as trial:
        try:
            trial.connect(path)
        except OSError:
            return
    raise ListenError(f"{address}: another process listens there")
