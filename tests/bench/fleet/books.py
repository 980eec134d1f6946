"""The fleet's books that are measured: on a PostgreSQL server whose commits are durable."""

import asyncio
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from fleet.postgres_server import POD, PostgresServer

from sidecar.fleet import schema

DISK = Path("/var/tmp")  # noqa: S108 - the server's own folder in it is its user's alone
"""Of the server's files: /tmp may be memory, and a checkout may be where its user may not read."""

_DURABLE = {
    "fsync": "on", "full_page_writes": "on", "synchronous_commit": "on",
    "shared_buffers": "128MB", "max_connections": "100",
}  # fmt: skip


@contextmanager
def durable_server() -> Iterator[PostgresServer]:
    """Start a server, and remove it in the end. Raises MissingError."""
    server = PostgresServer(parent=DISK, options=_DURABLE)
    try:
        yield server
    finally:
        server.remove()


class Books:
    """Empty books, in a database of their own."""

    _number = 0

    def __init__(self, server: PostgresServer) -> None:
        """Make the database."""
        Books._number += 1
        self.database = f"books{Books._number}"
        self._server = server
        server.execute(f"CREATE DATABASE {self.database}")
        asyncio.run(self._init())
        with tempfile.NamedTemporaryFile("w", suffix=".url", delete=False) as file:
            file.write(server.url(self.database))
        self.url_file = Path(file.name)

    async def _init(self) -> None:
        connection = await self._server.connect(self.database)
        await schema.init(connection, "UTC")
        for right in schema.grants(POD):
            await connection.execute(right)
        await connection.close()

    def sql(self, *statements: str) -> list[Any]:
        """Run statements as the owner; return the rows of the last."""
        return self._server.execute(*statements, database=self.database)

    def exchanges(self) -> int:
        """Return how many exchanges were booked: each has one version of its holder."""
        [row] = self.sql("SELECT coalesce(sum(version), 0)::bigint AS all FROM fleet_holder")
        return int(row["all"])


@contextmanager
def books(server: PostgresServer) -> Iterator[Books]:
    """Make books; in the end, nothing names them. Their database goes with the server."""
    made = Books(server)
    try:
        yield made
    finally:
        made.url_file.unlink()
