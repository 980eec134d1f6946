"""The network between one sidecar and PostgreSQL, which a test can slow down and cut."""

import asyncio
import threading
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager, suppress
from typing import Any

from fleet.postgres_server import PostgresServer


class Link:
    """Passes bytes to a server and back, from a port of the loopback."""

    def __init__(self, server: PostgresServer) -> None:
        """Listen in a thread."""
        self.server = server
        self.delay_seconds = 0.0
        """How long each answer of the server takes more."""
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever)
        self._thread.start()
        self._is_up = asyncio.Event()
        self._is_up.set()
        self._connections: set[asyncio.Task[None]] = set()
        self._listening = self._run(asyncio.start_server(self._serve, "127.0.0.1", 0))
        self.port = int(self._listening.sockets[0].getsockname()[1])

    def url(self, database: str) -> str:
        """Return the URL of a database behind it."""
        return self.server.url(database, tcp=True).replace(
            f":{self.server.port}/", f":{self.port}/"
        )

    def cut(self) -> None:
        """Let nothing through, as where packets are dropped: nobody is told."""
        self._loop.call_soon_threadsafe(self._is_up.clear)

    def mend(self) -> None:
        """Let all through that waits."""
        self._loop.call_soon_threadsafe(self._is_up.set)

    def close(self) -> None:
        """End all connections."""
        self._run(self._close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _run(self, work: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(20)

    async def _close(self) -> None:
        self._listening.close()
        for connection in self._connections:
            connection.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = asyncio.current_task()
        assert connection is not None
        self._connections.add(connection)
        path = f"{self.server.folder}/.s.PGSQL.{self.server.port}"
        ends = [writer]
        try:
            with suppress(OSError):
                inner_reader, inner_writer = await asyncio.open_unix_connection(path)
                ends.append(inner_writer)
                ways = (
                    self._pass(reader, inner_writer, answers=False),
                    self._pass(inner_reader, writer, answers=True),
                )
                await asyncio.gather(*ways)
        except asyncio.CancelledError:
            pass  # the end of the test
        finally:
            for end in ends:
                end.close()
            self._connections.discard(connection)

    async def _pass(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, answers: bool
    ) -> None:
        while chunk := await reader.read(65536):
            if answers and self.delay_seconds:
                await asyncio.sleep(self.delay_seconds)
            await self._is_up.wait()
            writer.write(chunk)
        writer.close()


@contextmanager
def link(server: PostgresServer) -> Iterator[Link]:
    """Open a link for the block."""
    opened = Link(server)
    try:
        yield opened
    finally:
        opened.close()
