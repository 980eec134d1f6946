"""A TCP listener in front of a Unix socket: at its maximum of connections, the oldest goes.

gRPC closes the newest instead, so that connections that do nothing keep all others out.
"""

import asyncio
import contextlib
import socket
from pathlib import Path

_CHUNK_BYTES = 16_384


class Relay:
    """Passes bytes between each TCP connection and one of its own to the Unix socket."""

    def __init__(self, host: str, port: int, path: Path, max_connections: int) -> None:
        """Bind the address; `port` is then the actual one for port 0. Raises OSError."""
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        # As gRPC does: [::] is every address, of both families.
        both = host == "::" and socket.has_dualstack_ipv6()
        self._socket = socket.create_server((host, port), family=family, dualstack_ipv6=both)
        self.port = int(self._socket.getsockname()[1])
        self._path = path
        self._max_connections = max_connections
        self._open: dict[asyncio.Task[None], None] = {}  # in the order in which they came
        self._server: asyncio.Server | None = None

    async def start(self) -> None:
        """Accept connections."""
        self._server = await asyncio.start_server(self._connected, sock=self._socket)

    async def stop(self) -> None:
        """Close every connection."""
        if self._server is None:
            self._socket.close()
            return
        self._server.close()
        connections = [*self._open]
        for connection in connections:
            connection.cancel()
        await asyncio.gather(*connections, return_exceptions=True)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        if len(self._open) >= self._max_connections:
            oldest = next(iter(self._open))
            del self._open[oldest]
            oldest.cancel()
        self._open[task] = None
        try:
            with contextlib.suppress(OSError, asyncio.CancelledError):
                await self._pass_on(reader, writer)
        finally:
            writer.transport.abort()
            self._open.pop(task, None)

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Pass bytes on in both directions, until one of them ends."""
        inner_reader, inner_writer = await asyncio.open_unix_connection(self._path)
        directions = [
            asyncio.create_task(_copy(reader, inner_writer)),
            asyncio.create_task(_copy(inner_reader, writer)),
        ]
        try:
            await asyncio.wait(directions, return_when=asyncio.FIRST_COMPLETED)
        finally:
            inner_writer.transport.abort()
            for direction in directions:
                direction.cancel()
            await asyncio.gather(*directions, return_exceptions=True)


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    # Nothing waits in this process: a peer that does not read gets no more.
    writer.transport.set_write_buffer_limits(0)
    while content := await reader.read(_CHUNK_BYTES):
        writer.write(content)
        await writer.drain()
