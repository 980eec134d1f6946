"""A TCP listener for probes from other machines: health, and nothing else."""

import grpc

from sidecar.server.addresses import MAX_PORT, ListenError
from sidecar.server.health import Health

CONNECTIONS_AT_MOST = 64
_OPTIONS = (
    ("grpc.max_receive_message_length", 1024),
    ("grpc.max_concurrent_streams", 16),
    ("grpc.max_metadata_size", 4096),
    ("grpc.so_reuseport", 0),
    # Whoever connects and does nothing must not keep the kubelet out for long.
    ("grpc.max_allowed_incoming_connections", CONNECTIONS_AT_MOST),
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
