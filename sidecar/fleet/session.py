"""A connection to the books, and transactions in it.

Nothing of a transaction stays in the session, so that poolers may give each to another: statements
are parsed anew each time. How their columns look is asked once in a connection.
"""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import asyncpg

from sidecar.fleet import statements
from sidecar.fleet.protocol import FleetRefusedError
from sidecar.fleet.url import connection_settings

Row = Mapping[str, Any]


class AgainError(Exception):
    """An exchange has to begin anew, with other rows locked or inserted before it."""

    def __init__(self, missing: set[bytes], more: set[bytes]) -> None:
        """Name budgets without a row, and those that have to be locked, too."""
        super().__init__()
        self.missing, self.more = missing, more


IN_THE_WAY = (asyncpg.TransactionRollbackError, asyncpg.UniqueViolationError)
"""Other transactions were in the way, and this one may be tried again: it could not be put into an
order with them, it waited for them in a circle, or its holder's first exchange was doubled."""

_KEEP_CONNECTION = (AgainError, FleetRefusedError, *IN_THE_WAY)


class Session:
    """A connection, with what is known of it."""

    def __init__(
        self, connection: asyncpg.Connection, *, has_timeline: bool, has_jit: bool
    ) -> None:
        """Take a connection, and what its server has: a timeline, a just-in-time compiler."""
        self.has_timeline = has_timeline
        self.has_jit = has_jit
        self._connection = connection
        self._prepared: dict[str, Any] = {}

    def is_closed(self) -> bool:
        """Whether the connection is over."""
        return bool(self._connection.is_closed())

    def close(self) -> None:
        """Close the connection, whatever it does."""
        self._connection.terminate()

    async def fetch(self, statement: str, *arguments: object) -> list[Row]:
        """Run a statement in one round trip; the first time in two."""
        if statement not in self._prepared:
            self._prepared[statement] = await self._connection.prepare(statement, name="")
        rows: list[Row] = await self._prepared[statement].fetch(*arguments)
        return rows

    @asynccontextmanager
    async def transaction(self, milliseconds: int, isolation: str | None) -> AsyncIterator[None]:
        """Run the block in a transaction, and close the connection after an unexpected error."""
        begin = statements.begin(milliseconds, isolation, has_jit=self.has_jit)
        is_over = False
        try:
            try:
                await self._connection.execute(begin)
                yield
                await self._connection.execute("COMMIT")
            except _KEEP_CONNECTION:
                await self._connection.execute("ROLLBACK")
                is_over = True
                raise
            is_over = True
        finally:
            if not is_over:
                self.close()


async def connect(url_file: Path, timeout_seconds: float) -> Session:
    """Open a connection by the URL in a file. Raises FleetRefusedError, FleetUnreachableError.

    And the driver's errors, whose texts may quote anything.
    """
    connection = await open_connection(url_file, timeout_seconds)
    try:
        # In a transaction, so that a pooler does not give parts of it to several sessions.
        await connection.execute("BEGIN")
        await connection.prepare(statements.TYPES, name="")
        await connection.execute("COMMIT")
        return Session(
            connection,
            has_timeline=await _takes(connection, statements.PROBE_TIMELINE),
            has_jit=await _takes(connection, statements.PROBE_JIT),
        )
    except BaseException:  # its time may be over
        connection.terminate()
        raise


async def open_connection(url_file: Path, timeout_seconds: float) -> asyncpg.Connection:
    """Open a connection of the driver's; see `connect`."""
    settings = await asyncio.to_thread(connection_settings, url_file)
    # Without server_settings, only the database, the user and the encoding are said at the start,
    # which poolers take.
    return await asyncpg.connect(**settings, timeout=timeout_seconds, statement_cache_size=0)


async def _takes(connection: asyncpg.Connection, statement: str) -> bool:
    """Whether the server knows what a statement names."""
    try:
        await connection.execute(statement)
    except asyncpg.PostgresError:
        return False
    return True
