"""One gRPC server on all its addresses."""

import asyncio

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from sidecar.server.addresses import ListenError, check_address, refuse_socket_in_use
from sidecar.server.health import Health
from sidecar.server.service import SERVICE, AuthorizationService

MAX_REQUEST_BYTES = 262_144
MAX_CONCURRENT_STREAMS = 1024
REFUSE_SECONDS = 0.2
"""How long new calls are refused by name before the listeners close."""

_OPTIONS = (
    ("grpc.max_receive_message_length", MAX_REQUEST_BYTES),
    ("grpc.max_concurrent_streams", MAX_CONCURRENT_STREAMS),
    ("grpc.max_metadata_size", 16_384),
    # Without this, a second sidecar would share the port instead of failing.
    ("grpc.so_reuseport", 0),
)


class Server:
    """One gRPC server on all its addresses, with health and on demand reflection."""

    def __init__(
        self, service: AuthorizationService, addresses: list[str], *, reflect: bool
    ) -> None:
        """Bind every address. Raises ListenError."""
        self._service = service
        self._server = grpc.aio.server(options=_OPTIONS)
        self._server.add_generic_rpc_handlers((service.handlers(),))
        self._health = Health()
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
        refuse_socket_in_use(address)
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
