"""The HTTP/1.1 server: one request a connection, bounded against slow and hostile clients.

Bytes after a request are never read as another request, which prevents request smuggling.
"""

import asyncio
import contextlib
import ssl
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus

import h11

MAX_HEAD_BYTES = 16_384
READ_SECONDS = 5.0
"""The timeout of TLS and the whole request together, and again of the response."""
_CHUNK_BYTES = 65_536


@dataclass(frozen=True, slots=True)
class Request:
    """A complete request."""

    method: str
    target: str
    """The raw path with the query."""
    headers: list[tuple[bytes, bytes]]
    """Lower-case names and values, in the request's order."""
    body: bytes
    certificate: bytes | None
    """The client's certificate in DER."""

    def header(self, name: bytes) -> list[bytes]:
        """Return all values of a header, by its lower-case name."""
        return [value for key, value in self.headers if key == name]


@dataclass(frozen=True, slots=True)
class Response:
    """A response."""

    status: int
    content: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)


Handle = Callable[[Request], Awaitable[Response]]
"""Returns the response to a request; raises nothing."""


class BadRequestError(Exception):
    """The request is invalid or too large; the server responds with `status`."""

    def __init__(self, status: int, message: str) -> None:
        """Keep the status of the response."""
        super().__init__(message)
        self.status = status


class HttpServer:
    """Serves one request on each connection of one listener.

    At the maximum of connections, the oldest one that waits for its client, to send its request
    or read its response, is dropped: slow clients do not keep others out.
    """

    def __init__(
        self,
        handle: Handle,
        *,
        max_body_bytes: int,
        max_connections: int,
        tls: Callable[[], ssl.SSLContext] | None = None,
    ) -> None:
        """Respond by `handle`; with `tls`, each new connection uses the context it returns."""
        self._handle = handle
        self._max_body_bytes = max_body_bytes
        self._max_connections = max_connections
        self._tls = tls
        # Connections that wait for their client may be dropped, the oldest first; those whose
        # request is being handled may not.
        self._awaiting_client: dict[asyncio.Task[None], None] = {}
        self._handling: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None

    async def start_tcp(self, host: str, port: int) -> int:
        """Listen, and return the port, as 0 takes a free one. Raises OSError."""
        server = await asyncio.start_server(self._connected, host, port, reuse_address=True)
        self._server = server
        return int(server.sockets[0].getsockname()[1])

    async def start_unix(self, path: str) -> None:
        """Listen on a Unix socket. Raises OSError."""
        self._server = await asyncio.start_unix_server(self._connected, path)

    async def stop(self, grace_seconds: float) -> None:
        """Accept no more connections, and let requests in progress finish."""
        if self._server is not None:
            self._server.close()
        for connection in self._awaiting_client:
            connection.cancel()
        if self._handling:
            await asyncio.wait(self._handling, timeout=grace_seconds)
        rest = [*self._awaiting_client, *self._handling]
        for connection in rest:
            connection.cancel()
        await asyncio.gather(*rest, return_exceptions=True)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        if len(self._awaiting_client) + len(self._handling) >= self._max_connections:
            if not self._awaiting_client:
                writer.transport.abort()
                return
            oldest = next(iter(self._awaiting_client))
            del self._awaiting_client[oldest]
            oldest.cancel()
        self._awaiting_client[task] = None
        try:
            with contextlib.suppress(OSError, TimeoutError, asyncio.CancelledError):
                await self._serve(task, reader, writer)
        finally:
            writer.transport.abort()
            self._awaiting_client.pop(task, None)
            self._handling.discard(task)

    async def _serve(
        self, task: asyncio.Task[None], reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        connection = h11.Connection(h11.SERVER, MAX_HEAD_BYTES)
        head: h11.Request | None = None
        try:
            async with asyncio.timeout(READ_SECONDS):
                if self._tls is not None:
                    # Nothing has been read yet: the connection's task runs first.
                    await writer.start_tls(self._tls(), ssl_handshake_timeout=READ_SECONDS)
                head = await self._read_head(connection, reader)
                request = await self._read_body(head, connection, reader, writer)
        except BadRequestError as error:
            response = Response(error.status, str(error).encode())
        except h11.RemoteProtocolError as error:
            response = Response(error.error_status_hint, b"the request is malformed")
        else:
            self._awaiting_client.pop(task, None)
            self._handling.add(task)
            response = await self._handle(request)
            self._handling.discard(task)
            self._awaiting_client[task] = None
        async with asyncio.timeout(READ_SECONDS):
            # Also a refusal of HEAD has no content: h11 raises for it.
            head_only = head is not None and head.method == b"HEAD"
            writer.write(_encoded(connection, response, head_only=head_only))
            writer.transport.set_write_buffer_limits(0)
            await writer.drain()
            if writer.can_write_eof():
                writer.write_eof()
            # Read until the client closes: unread bytes would make the kernel drop the response.
            for _ in range(2 * self._max_body_bytes // _CHUNK_BYTES + 2):
                if not await reader.read(_CHUNK_BYTES):
                    break

    async def _read_head(
        self, connection: h11.Connection, reader: asyncio.StreamReader
    ) -> h11.Request:
        while (event := connection.next_event()) is h11.NEED_DATA:
            connection.receive_data(await reader.read(_CHUNK_BYTES))
        if not isinstance(event, h11.Request):  # the client closed without a request
            raise ConnectionAbortedError
        return event

    async def _read_body(
        self,
        head: h11.Request,
        connection: h11.Connection,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> Request:
        _check_head(head, self._max_body_bytes)
        body = bytearray()
        while True:
            match connection.next_event():
                case h11.NEED_DATA:
                    if connection.they_are_waiting_for_100_continue:
                        go_on = h11.InformationalResponse(status_code=100, headers=[])
                        writer.write(connection.send(go_on) or b"")
                    connection.receive_data(await reader.read(_CHUNK_BYTES))
                case h11.Data(data=data):
                    body += data
                    if len(body) > self._max_body_bytes:
                        raise BadRequestError(413, f"more than {self._max_body_bytes} bytes")
                case h11.EndOfMessage():
                    break
                case _:  # the client closed
                    raise ConnectionAbortedError
        tls: ssl.SSLObject | None = writer.get_extra_info("ssl_object")
        return Request(
            head.method.decode(),
            head.target.decode(),
            [(bytes(name), bytes(value)) for name, value in head.headers],
            bytes(body),
            None if tls is None else tls.getpeercert(binary_form=True),
        )


def _check_head(head: h11.Request, max_body_bytes: int) -> None:
    """Raise BadRequestError for a head that is too large, or a body of ambiguous length."""
    if sum(len(name) + len(value) for name, value in head.headers) > MAX_HEAD_BYTES:
        raise BadRequestError(431, f"the headers have more than {MAX_HEAD_BYTES} bytes")
    lengths = [value for name, value in head.headers if name == b"content-length"]
    encodings = [value for name, value in head.headers if name == b"transfer-encoding"]
    if lengths and encodings:
        raise BadRequestError(400, "both content-length and transfer-encoding")
    if lengths and int(lengths[0]) > max_body_bytes:
        raise BadRequestError(413, f"more than {max_body_bytes} bytes")


def _latin(headers: Mapping[str, str]) -> list[tuple[bytes, bytes]]:
    return [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers.items()]


def _encoded(connection: h11.Connection, response: Response, *, head_only: bool) -> bytes:
    headers = {
        "content-length": str(len(response.content)),
        "connection": "close",
        "x-content-type-options": "nosniff",
        **response.headers,
    }
    if connection.our_state not in (h11.SEND_RESPONSE, h11.IDLE):  # the client did not send HTTP
        return b""
    phrase = HTTPStatus(response.status).phrase.encode()
    head = h11.Response(status_code=response.status, headers=_latin(headers), reason=phrase)
    events: list[h11.Event] = [head, h11.EndOfMessage()]
    if not head_only:
        events.insert(1, h11.Data(data=response.content))
    return b"".join(connection.send(event) or b"" for event in events)
