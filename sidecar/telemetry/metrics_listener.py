"""GET /metrics over HTTP, and nothing else, for scrapers that may be slow, many or hostile."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable

from prometheus_client import CONTENT_TYPE_LATEST

from sidecar.web.server import HttpServer, Request, Response

log = logging.getLogger(__name__)

MAX_CONNECTIONS = 16
MAX_BODY_BYTES = 1024
"""Of a request that should have none."""

FRESH_SECONDS = 1.0
"""How long a page is answered again before it is written anew: bounds what scrapes cost."""


class MetricsListener:
    """Answers with one page."""

    def __init__(self, page: Callable[[], Awaitable[bytes]]) -> None:
        """Answer with this page."""
        self._write_page = page
        self._page = b""
        self._written_at = -FRESH_SECONDS
        self._writing = asyncio.Lock()
        self._server = HttpServer(
            self._answer, max_body_bytes=MAX_BODY_BYTES, max_connections=MAX_CONNECTIONS
        )

    async def start(self, address: str) -> None:
        """Listen, and say where, since port 0 takes a free one.

        Raises ValueError, which names the flag.
        """
        host, _, port = address.rpartition(":")
        try:
            # Without a host, it would be every address.
            number = await self._server.start_tcp(host.strip("[]"), int(port if host else ""))
        except (OSError, ValueError, OverflowError):
            raise ValueError(
                f"--metrics-listen {address}: cannot be listened on: it has to be HOST:PORT, and"
                " the port free"
            ) from None
        log.info("metrics on %s:%d", host, number)

    async def close(self) -> None:
        """Close every connection."""
        await self._server.stop(0)

    async def _answer(self, request: Request) -> Response:
        if request.target.partition("?")[0] != "/metrics":
            return Response(404)
        if request.method != "GET":
            return Response(405, headers={"allow": "GET"})
        return Response(200, await self._fresh(), {"content-type": CONTENT_TYPE_LATEST})

    async def _fresh(self) -> bytes:
        async with self._writing:
            if time.monotonic() >= self._written_at + FRESH_SECONDS:
                self._page = await self._write_page()
                self._written_at = time.monotonic()
            return self._page
