"""The standard health service, which does not keep a server from stopping."""

import asyncio
from typing import Any

from grpc_health.v1 import health


class Health(health.aio.HealthServicer):  # type: ignore[misc] # it has no types
    """The standard health service, whose watchers do not keep a server from stopping."""

    def __init__(self) -> None:
        """Watch nothing yet; no service is known."""
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
