"""GET /metrics over HTTP, and nothing else, for scrapers that may be slow, many or hostile."""

import asyncio
import contextlib
import logging
import time
from collections.abc import Awaitable, Callable

from prometheus_client import CONTENT_TYPE_LATEST

log = logging.getLogger(__name__)

CONNECTIONS_AT_MOST = 16
MAX_HEADER_BYTES = 8192
TIMEOUT_SECONDS = 5.0
"""For a scraper to ask, and again to take the answer, however it spends it."""

_CONTENT_TYPE = f"Content-Type: {CONTENT_TYPE_LATEST}\r\n"

FRESH_SECONDS = 1.0
"""How long a page is answered again before it is written anew: bounds what scrapes cost."""


class MetricsListener:
    """Answers one request on each connection.

    When there are too many connections, the oldest goes: those that do nothing, or little,
    cannot keep out a scraper that asks at once.
    """

    def __init__(self, page: Callable[[], Awaitable[bytes]]) -> None:
        """Answer with this page."""
        self._write_page = page
        self._page = b""
        self._written_at = -FRESH_SECONDS
        self._writing = asyncio.Lock()
        self._connections: dict[asyncio.Task[None], None] = {}
        self._server: asyncio.Server | None = None

    async def start(self, address: str) -> None:
        """Listen, and say where, since port 0 takes a free one.

        Raises ValueError, which names the flag.
        """
        host, _, port = address.rpartition(":")
        try:
            self._server = await asyncio.start_server(
                self._connected,
                host.removeprefix("[").removesuffix("]"),
                int(port),
                limit=MAX_HEADER_BYTES,
                backlog=CONNECTIONS_AT_MOST,
            )
        except (OSError, ValueError, OverflowError):
            raise ValueError(
                f"--metrics-listen {address}: cannot be listened on: it has to be HOST:PORT, and"
                " the port free"
            ) from None
        log.info("metrics on %s:%d", host, self._server.sockets[0].getsockname()[1])

    async def close(self) -> None:
        """Close every connection."""
        if self._server is not None:
            self._server.close()
        for connection in self._connections:
            connection.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        if len(self._connections) >= CONNECTIONS_AT_MOST:
            oldest = next(iter(self._connections))
            del self._connections[oldest]
            oldest.cancel()
        self._connections[task] = None
        try:
            # A reader that does not read has the page in its socket's buffer or here, once.
            with contextlib.suppress(OSError, TimeoutError, asyncio.CancelledError):
                async with asyncio.timeout(TIMEOUT_SECONDS):
                    refusal = await self._refusal(reader)
                answer = refusal or _response("200 OK", _CONTENT_TYPE, await self._fresh())
                async with asyncio.timeout(TIMEOUT_SECONDS):
                    writer.write(answer)
                    writer.transport.set_write_buffer_limits(0)
                    await writer.drain()
                    writer.write_eof()
                    await reader.read(MAX_HEADER_BYTES)  # let the client close: no data is lost
        finally:
            writer.transport.abort()
            self._connections.pop(task, None)

    async def _refusal(self, reader: asyncio.StreamReader) -> bytes:
        """Read a request; return the answer to what is none for the page, else nothing."""
        try:
            head = await reader.readuntil(b"\r\n\r\n")
        except asyncio.LimitOverrunError:
            return _response("431 Request Header Fields Too Large")
        except asyncio.IncompleteReadError:
            return _response("400 Bad Request")
        method, _, rest = head.split(b"\r\n", 1)[0].partition(b" ")
        target, _, version = rest.partition(b" ")
        if not version.startswith(b"HTTP/1."):
            return _response("400 Bad Request")
        if target.partition(b"?")[0] != b"/metrics":
            return _response("404 Not Found")
        if method != b"GET":
            return _response("405 Method Not Allowed", "Allow: GET\r\n")
        return b""

    async def _fresh(self) -> bytes:
        async with self._writing:
            if time.monotonic() >= self._written_at + FRESH_SECONDS:
                self._page = await self._write_page()
                self._written_at = time.monotonic()
            return self._page


def _response(status: str, headers: str = "", body: bytes = b"") -> bytes:
    head = f"HTTP/1.1 {status}\r\n{headers}Content-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    return head.encode() + body
