"""The gRPC server: its addresses, services and bounds."""

import asyncio
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Protocol

import grpc
from grpc_reflection.v1alpha import reflection

from sidecar.domain.flags import setting
from sidecar.server.addresses import (
    ListenError,
    check_address,
    created_with,
    is_unix,
    refuse_socket_in_use,
    socket_path,
)
from sidecar.server.connections import Connections
from sidecar.server.health import SERVICE, Health
from sidecar.server.method_server import Methods, MethodServer
from sidecar.server.tls import Credentials
from sidecar.server.unfinished import UnfinishedRequests

MAX_REQUEST_BYTES = 262_144
MAX_CONCURRENT_STREAMS = 64
"""Concurrent calls of one connection; a client lets further ones wait."""
READ_BYTES = 16_384
"""What gRPC reads of a connection at a time; without a limit it reads and keeps megabytes."""
WINDOW_BYTES = 8_192
"""What a peer may send of a request before it is read: more than most requests have."""
MAX_METADATA_BYTES = 16_384
HANDSHAKE_SECONDS = 5
"""For the TLS handshake, and for HTTP/2's first frame."""
CONNECTION_IDLE_SECONDS = 60
"""A connection without calls is closed; clients reconnect by themselves."""
CONNECTION_AGE_SECONDS = 3600
"""Of authenticated connections: bounds how long a removed client CA stays in use."""
CONNECTION_GRACE_SECONDS = 300
"""For calls in flight on a connection that has reached its age."""
PING_SECONDS = 10
"""A client may ping this often, also without a call."""
REFUSE_SECONDS = 0.2
"""How long new calls get STOPPING before the listeners close."""


def _permissions(text: str) -> int:
    """Read permissions in octal. Raises ValueError."""
    if not re.fullmatch(r"0?[0-7]{3}", text):
        raise ValueError("give permissions in octal, as in 0660")
    return int(text, 8)


@dataclass(frozen=True, slots=True)
class ListenerSettings:
    """Settings of a listener."""

    PANEL: ClassVar = "Listeners"
    socket_mode: int = setting(
        "--socket-mode",
        "The permissions of Unix sockets. Who may write to one may call.",
        "OCTAL",
        default=0o660,
        parse=_permissions,
        write="{:04o}".format,
    )
    max_connections: int = setting(
        "--max-connections",
        "The most connections of one listener. For one more, one that is silent is ended;"
        " further ones are closed.",
        default=64,
        min=1,
        max=100_000,
    )
    max_request_bytes: int = MAX_REQUEST_BYTES


def _options(settings: ListenerSettings, *, from_elsewhere: bool) -> list[tuple[str, int]]:
    """Return gRPC's options: a bound on everything that a peer can send or keep open."""
    # One more than the maximum is let in, so that it is known when one has to make room.
    let_in = settings.max_connections + 1
    max_calls = let_in * MAX_CONCURRENT_STREAMS
    options = [
        ("grpc.max_receive_message_length", settings.max_request_bytes),
        ("grpc.max_concurrent_streams", MAX_CONCURRENT_STREAMS),
        # With it, calls count until gRPC has freed them, so that clients that keep to the limit
        # are refused (REFUSED_STREAM).
        ("grpc.http.overload_protection", 0),
        # Calls that wait for their handler: gRPC would cancel some from 1,000 on.
        ("grpc.server.max_pending_requests", max_calls),
        ("grpc.server.max_pending_requests_hard_limit", max_calls),
        ("grpc.experimental.tcp_max_read_buffer_size", READ_BYTES),
        ("grpc.http2.lookahead_bytes", WINDOW_BYTES),
        # It would make the window larger for a peer that sends much.
        ("grpc.http2.bdp_probe", 0),
        # If the two differ, gRPC refuses calls between them at random.
        ("grpc.max_metadata_size", MAX_METADATA_BYTES),
        ("grpc.absolute_max_metadata_size", MAX_METADATA_BYTES),
        ("grpc.max_allowed_incoming_connections", let_in),
        ("grpc.server_handshake_timeout_ms", HANDSHAKE_SECONDS * 1000),
        ("grpc.max_connection_idle_ms", CONNECTION_IDLE_SECONDS * 1000),
        # Dead peers are detected; peers that ping too often are disconnected.
        ("grpc.keepalive_time_ms", 60_000),
        ("grpc.keepalive_timeout_ms", 20_000),
        ("grpc.http2.min_ping_interval_without_data_ms", PING_SECONDS * 1000),
        # Without this, gRPC's interval for a connection without calls is two hours.
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.http2.max_ping_strikes", 2),
        # With SO_REUSEPORT, a second sidecar would share the port instead of failing.
        ("grpc.so_reuseport", 0),
    ]
    if from_elsewhere:
        options += [
            ("grpc.max_connection_age_ms", CONNECTION_AGE_SECONDS * 1000),
            ("grpc.max_connection_age_grace_ms", CONNECTION_GRACE_SECONDS * 1000),
        ]
    return options


class Service(Protocol):
    """A service of a server."""

    name: str
    """The service's full name."""

    def methods(self, unfinished: UnfinishedRequests) -> Methods:
        """Return the handlers of its RPCs, whose requests are read by `unfinished`."""

    def stop(self) -> None:
        """Refuse new calls, and end open streams."""


class Server:
    """One gRPC server on all its addresses, with health and optional reflection."""

    def __init__(
        self,
        services: Sequence[Service],
        addresses: Sequence[str],
        *,
        health_service: Health | None = None,
        reflect: bool = False,
        settings: ListenerSettings | None = None,
        tls: Credentials | None = None,
        proven: bool = False,
        max_calls: int | None = None,
    ) -> None:
        """Bind every address, TCP ones with `tls` if given. Raises ListenError.

        `proven`: callers are authenticated, by a token or a certificate. Concurrent calls
        above `max_calls` fail with RESOURCE_EXHAUSTED.
        """
        self._services = services
        self._settings = settings or ListenerSettings()
        self._tls = None if tls is None else tls.grpc()
        self._proven = proven and tls is not None
        options = _options(self._settings, from_elsewhere=proven)
        self._server = MethodServer(options, max_calls)
        self._health = health_service or Health([service.name for service in services])
        self._connections = Connections(self._settings.max_connections)
        unfinished = UnfinishedRequests(
            self._settings.max_request_bytes, self._connections.call_cancelled
        )
        for service in services:
            self._server.add_registered_method_handlers(service.name, service.methods(unfinished))
        self._server.add_registered_method_handlers(SERVICE, self._health.methods(unfinished))
        if reflect:
            names = (
                *(service.name for service in services),
                SERVICE,
                reflection.SERVICE_NAME,
            )
            reflection.enable_server_reflection(names, self._server)
        self._is_stopping = False
        self.addresses = [self._bind(address) for address in addresses]

    async def start(self) -> None:
        """Start to serve, and become ready."""
        await self._server.start()
        self._connections.start(self.addresses)
        await self._health.report("")

    def problem(self) -> str:
        """Return why no call is accepted, once started; empty if calls are, or after `stop`."""
        if self._is_stopping or self._server.is_running():
            return ""
        return "gRPC has ended its server: start anew"

    async def stop(self, grace_seconds: float) -> None:
        """Become not ready, refuse new calls, and let those in flight finish."""
        self._is_stopping = True
        self._connections.stop()
        await self._health.stop()
        for service in self._services:
            service.stop()
        # New calls get STOPPING in this time; gRPC would only cancel them.
        await asyncio.sleep(REFUSE_SECONDS)
        self._health.end_watches()
        await self._server.stop(grace_seconds)

    def _bind(self, address: str) -> str:
        """Listen, and return the address with the port that was chosen for port 0."""
        check_address(address, proven=self._proven)
        if is_unix(address):
            refuse_socket_in_use(address)
            with created_with(self._settings.socket_mode):
                if not self._add(address, None):
                    raise ListenError(f"{address}: cannot listen there; does its folder exist?")
            # A folder's default ACL may have changed the permissions.
            socket_path(address).chmod(self._settings.socket_mode)
            return address
        port = self._add(address, self._tls)
        if not port:
            raise ListenError(f"{address}: cannot listen there; is the port in use?")
        return f"{address.rpartition(':')[0]}:{port}"

    def _add(self, address: str, tls: grpc.ServerCredentials | None) -> int:
        """Return the port; 0 if gRPC cannot listen there."""
        try:
            if tls is None:
                return self._server.add_insecure_port(address)
            return self._server.add_secure_port(address, tls)
        except RuntimeError:
            return 0
