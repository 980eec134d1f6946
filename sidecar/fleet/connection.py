"""The connection of a sidecar to the fleet's books, which is opened anew when it is lost."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from random import Random
from typing import TypeVar

from sidecar.fleet.failures import unreachable
from sidecar.fleet.protocol import FleetRefusedError, FleetUnreachableError
from sidecar.fleet.session import IN_THE_WAY, Row, Session, connect

T = TypeVar("T")

CONNECT_SECONDS = 5.0
"""For a connection, which takes more round trips than an exchange."""
OPEN_SECONDS = (0.1, 0.3)
"""From one opening of a connection to the next, at least: a server that is away, or closes each, is
not tried anew by each call. It differs, so that a fleet does not come at once."""
PAUSE_SECONDS = 0.02
"""Before a repeat, at most; it grows with each."""


class BooksConnection:
    """Runs work on the books, one after the other. Belongs to one event loop."""

    def __init__(self, url_file: Path, random: Random | None = None) -> None:
        """Connect at the first work, by the URL in a file."""
        self._url_file = url_file
        self._random = random or Random()  # noqa: S311 - spreads repeats over time
        self._session: Session | None = None
        self._connecting: asyncio.Task[Session] | None = None
        self._opens_from = 0.0
        """When a connection may be opened next, by the loop's clock."""
        self._one_at_a_time = asyncio.Lock()

    async def run(self, work: Callable[[Session], Awaitable[T]], deadline_seconds: float) -> T:
        """Run work, which makes its transactions itself, until no other is in its way.

        The deadline is for all that it takes: the turn, locks and repeats. A connection that has
        to be opened before that has as long again. Raises FleetUnreachableError, and what work
        raises of FleetRefusedError.
        """
        try:
            async with asyncio.timeout(deadline_seconds) as timeout, self._one_at_a_time:
                if self._session is None or self._session.is_closed():
                    self._session = await self._connected()
                    timeout.reschedule(asyncio.get_running_loop().time() + deadline_seconds)
                return await self._repeated(work, self._session)
        except (FleetUnreachableError, FleetRefusedError):
            raise
        except Exception as error:  # the driver's, whose texts may quote anything
            raise unreachable(error, deadline_seconds) from None

    async def fetch(
        self,
        statement: str,
        *arguments: object,
        transaction_seconds: float,
        deadline_seconds: float,
    ) -> list[Row]:
        """Run one statement in a transaction of its own; raises as `run` does.

        The transaction is short, since exchanges wait for it; the deadline has its turn, too.
        """

        async def work(session: Session) -> list[Row]:
            limits = (round(transaction_seconds * 1000), None)
            async with asyncio.timeout(transaction_seconds), session.transaction(*limits):
                return await session.fetch(statement, *arguments)

        return await self.run(work, deadline_seconds)

    def close(self) -> None:
        """Close the connection."""
        if self._connecting is not None:
            self._connecting.cancel()
        if self._session is not None:
            self._session.close()

    async def _repeated(self, work: Callable[[Session], Awaitable[T]], session: Session) -> T:
        pause_seconds = 0.0
        while True:
            try:
                return await work(session)
            except IN_THE_WAY:
                pause_seconds += PAUSE_SECONDS
                await asyncio.sleep(self._random.uniform(0, pause_seconds))

    async def _connected(self) -> Session:
        """Return a new session; one that was not ready at a deadline is there for the next work.

        From a server that is far away, none would ever be ready in the time of an exchange.
        """
        if self._connecting is None or _has_failed(self._connecting):
            self._connecting = asyncio.create_task(self._connect())
            self._connecting.add_done_callback(_has_failed)  # nobody may wait for it any more
        session = await asyncio.shield(self._connecting)
        self._connecting = None
        return session

    async def _connect(self) -> Session:
        loop = asyncio.get_running_loop()
        await asyncio.sleep(self._opens_from - loop.time())
        self._opens_from = loop.time() + self._random.uniform(*OPEN_SECONDS)
        async with asyncio.timeout(CONNECT_SECONDS):
            return await connect(self._url_file, CONNECT_SECONDS)


def _has_failed(connecting: asyncio.Task[Session]) -> bool:
    """Whether an attempt is over without a session."""
    return connecting.done() and (connecting.cancelled() or connecting.exception() is not None)
