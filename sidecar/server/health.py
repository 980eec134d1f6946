"""The standard health service: is it alive, is it ready, for anybody who probes."""

import asyncio
from collections.abc import Sequence
from typing import Any

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

LIVENESS = "liveness"
READINESS = "readiness"

WATCHERS_AT_MOST = 64

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
        if len(self._watching) >= WATCHERS_AT_MOST:
            await context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "too many watch: use Check")
        watch = asyncio.create_task(self._watch(request.service, context))
        self._watching.add(watch)
        try:
            await asyncio.wait([watch])
        finally:
            watch.cancel()
            self._watching.discard(watch)

    async def _watch(self, name: str, context: Any) -> None:
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
        for watch in self._watching:
            watch.cancel()
