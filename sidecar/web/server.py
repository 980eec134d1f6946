"""HTTP/1.1 for whoever may be slow, many or hostile: one request a connection, all bounded.

What follows a request on its connection is never read as another, so that nobody can hide
one request behind another.
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
"""For TLS and a whole request, however it comes; and again for the answer to be taken."""
_CHUNK_BYTES = 65_536


@dataclass(frozen=True, slots=True)
class Request:
    """One request, all of it."""

    method: str
    target: str
    """With the query, as it came."""
    headers: list[tuple[bytes, bytes]]
    """By lower-case names, in their order."""
    body: bytes
    certificate: bytes | None
    """The client's, in DER."""

    def header(self, name: bytes) -> list[bytes]:
        """Return every header of a name in lower case."""
        return [value for key, value in self.headers if key == name]


@dataclass(frozen=True, slots=True)
class Response:
    """What is answered."""

    status: int
    content: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)


Handle = Callable[[Request], Awaitable[Response]]
"""Answers a request; raises nothing."""


class BadRequestError(Exception):
    """What came is no request, or larger than what is read."""

    def __init__(self, status: int, message: str) -> None:
        """Keep the status to answer with."""
        super().__init__(message)
        self.status = status


class HttpServer:
    """Answers one request on each connection of one listener.

    When there are too many, the oldest that is waited for goes, to send its request or to take
    its answer: those that do nothing, or little, keep out nobody who asks at once.
    """

    def __init__(
        self,
        handle: Handle,
        *,
        max_body_bytes: int,
        max_connections: int,
        tls: Callable[[], ssl.SSLContext] | None = None,
    ) -> None:
        """Answer by `handle`; speak TLS by the context of each connection's moment, if any."""
        self._handle = handle
        self._max_body_bytes = max_body_bytes
        self._max_connections = max_connections
        self._tls = tls
        # Those that are waited for may be sent away, the oldest first; those that wait, not.
        self._waited_for: dict[asyncio.Task[None], None] = {}
        self._waiting: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None

    async def start_tcp(self, host: str, port: int) -> int:
        """Listen, and return the port, since 0 takes a free one. Raises OSError."""
        server = await asyncio.start_server(self._connected, host, port, reuse_address=True)
        self._server = server
        return int(server.sockets[0].getsockname()[1])

    async def start_unix(self, path: str) -> None:
        """Listen on a Unix socket. Raises OSError."""
        self._server = await asyncio.start_unix_server(self._connected, path)

    async def stop(self, grace_seconds: float) -> None:
        """Take no more, and let what is being answered finish."""
        if self._server is not None:
            self._server.close()
        for connection in self._waited_for:
            connection.cancel()
        if self._waiting:
            await asyncio.wait(self._waiting, timeout=grace_seconds)
        rest = [*self._waited_for, *self._waiting]
        for connection in rest:
            connection.cancel()
        await asyncio.gather(*rest, return_exceptions=True)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        if len(self._waited_for) + len(self._waiting) >= self._max_connections:
            if not self._waited_for:
                writer.transport.abort()
                return
            oldest = next(iter(self._waited_for))
            del self._waited_for[oldest]
            oldest.cancel()
        self._waited_for[task] = None
        try:
            with contextlib.suppress(OSError, TimeoutError, asyncio.CancelledError):
                await self._serve(task, reader, writer)
        finally:
            writer.transport.abort()
            self._waited_for.pop(task, None)
            self._waiting.discard(task)

    async def _serve(
        self, task: asyncio.Task[None], reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        connection, head_only = h11.Connection(h11.SERVER, MAX_HEAD_BYTES), False
        try:
            async with asyncio.timeout(READ_SECONDS):
                if self._tls is not None:
                    # Nothing has been read by now: the task of a connection runs first.
                    await writer.start_tls(self._tls(), ssl_handshake_timeout=READ_SECONDS)
                request = await self._read(connection, reader, writer)
        except BadRequestError as error:
            response = Response(error.status, str(error).encode())
        except h11.RemoteProtocolError as error:
            response = Response(error.error_status_hint, b"the request is malformed")
        else:
            head_only = request.method == "HEAD"
            self._waited_for.pop(task, None)
            self._waiting.add(task)
            response = await self._handle(request)
            self._waiting.discard(task)
            self._waited_for[task] = None
        async with asyncio.timeout(READ_SECONDS):
            writer.write(_encoded(connection, response, head_only=head_only))
            writer.transport.set_write_buffer_limits(0)
            await writer.drain()
            if writer.can_write_eof():
                writer.write_eof()
            # Let the client close: what it still sends would make the kernel drop the answer.
            for _ in range(2 * self._max_body_bytes // _CHUNK_BYTES + 2):
                if not await reader.read(_CHUNK_BYTES):
                    break

    async def _read(
        self,
        connection: h11.Connection,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> Request:
        head: h11.Request | None = None
        body = bytearray()
        while True:
            match connection.next_event():
                case h11.NEED_DATA:
                    if connection.they_are_waiting_for_100_continue:
                        go_on = h11.InformationalResponse(status_code=100, headers=[])
                        writer.write(connection.send(go_on) or b"")
                    connection.receive_data(await reader.read(_CHUNK_BYTES))
                case h11.Request() as head:
                    _check_head(head, self._max_body_bytes)
                case h11.Data(data=data):
                    body += data
                    if len(body) > self._max_body_bytes:
                        raise BadRequestError(413, f"more than {self._max_body_bytes} bytes")
                case h11.EndOfMessage() if head is not None:
                    break
                case _:  # it closed, and asks nothing
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
    """Raise BadRequestError for one that is too large, or whose body could end in two places."""
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
    if connection.our_state not in (h11.SEND_RESPONSE, h11.IDLE):  # it sent what is no HTTP
        return b""
    phrase = HTTPStatus(response.status).phrase.encode()
    head = h11.Response(status_code=response.status, headers=_latin(headers), reason=phrase)
    events: list[h11.Event] = [head, h11.EndOfMessage()]
    if not head_only:
        events.insert(1, h11.Data(data=response.content))
    return b"".join(connection.send(event) or b"" for event in events)
