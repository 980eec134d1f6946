"""The HTTP listener for GET /metrics, bounded against slow, many or hostile scrapers."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable

from prometheus_client import CONTENT_TYPE_LATEST

from sidecar.web.server import HttpServer, Request, Response

log = logging.getLogger(__name__)

MAX_CONNECTIONS = 16
MAX_BODY_BYTES = 1024
"""Of a request's body, which should be empty."""

FRESH_SECONDS = 1.0
"""How long a page is cached, which bounds the work of scrapes."""


class MetricsListener:
    """An HTTP listener that serves one page."""

    def __init__(self, page: Callable[[], Awaitable[bytes]]) -> None:
        """Serve this page."""
        self._render = page
        self._page = b""
        self._written_at = -FRESH_SECONDS
        self._lock = asyncio.Lock()
        self._server = HttpServer(
            self._handle, max_body_bytes=MAX_BODY_BYTES, max_connections=MAX_CONNECTIONS
        )

    async def start(self, address: str) -> None:
        """Listen, and log the address, with the actual port for port 0.

        Raises ValueError, which names the flag.
        """
        host, _, port = address.rpartition(":")
        try:
            # Without a host, it would listen on every address.
            number = await self._server.start_tcp(host.strip("[]"), int(port if host else ""))
        except (OSError, ValueError, OverflowError):
            raise ValueError(
                f"--metrics-listen {address}: cannot listen there: it has to be HOST:PORT, with"
                " a free port"
            ) from None
        log.info("metrics on %s:%d", host, number)

    async def close(self) -> None:
        """Close every connection."""
        await self._server.stop(0)

    async def _handle(self, request: Request) -> Response:
        if request.target.partition("?")[0] != "/metrics":
            return Response(404)
        if request.method != "GET":
            return Response(405, headers={"allow": "GET"})
        return Response(200, await self._fresh(), {"content-type": CONTENT_TYPE_LATEST})

    async def _fresh(self) -> bytes:
        async with self._lock:
            if time.monotonic() >= self._written_at + FRESH_SECONDS:
                self._page = await self._render()
                self._written_at = time.monotonic()
            return self._page
