"""The connection of a sidecar to the fleet's books, which is opened anew when it is lost."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from random import Random
from typing import TypeVar

from sidecar.fleet.failures import unreachable
from sidecar.fleet.protocol import FleetRefusedError, FleetUnreachableError
from sidecar.fleet.session import IN_THE_WAY, Session, connect

T = TypeVar("T")

PAUSE_SECONDS = 0.02
"""Before a repeat, at most; it grows with each."""


class BooksConnection:
    """Runs work on the books, one after the other. Belongs to one event loop."""

    def __init__(self, url_file: Path, random: Random | None = None) -> None:
        """Connect at the first work, by the URL in a file."""
        self._url_file = url_file
        self._random = random or Random()  # noqa: S311 - spreads repeats over time
        self._session: Session | None = None
        self._one_at_a_time = asyncio.Lock()

    async def run(self, work: Callable[[Session], Awaitable[T]], deadline_seconds: float) -> T:
        """Run work, which makes its transactions itself, until no other is in its way.

        The deadline is for all that it takes: the turn, the connection, locks and repeats. Raises
        FleetUnreachableError, and what work raises of FleetRefusedError.
        """
        try:
            async with asyncio.timeout(deadline_seconds), self._one_at_a_time:
                return await self._repeated(work, deadline_seconds)
        except (FleetUnreachableError, FleetRefusedError):
            raise
        except Exception as error:  # the driver's, whose texts may quote anything
            raise unreachable(error, deadline_seconds) from None

    def close(self) -> None:
        """Close the connection."""
        if self._session is not None:
            self._session.close()

    async def _repeated(
        self, work: Callable[[Session], Awaitable[T]], deadline_seconds: float
    ) -> T:
        pause_seconds = 0.0
        while True:
            if self._session is None or self._session.is_closed():
                self._session = await connect(self._url_file, deadline_seconds)
            try:
                return await work(self._session)
            except IN_THE_WAY:
                pause_seconds += PAUSE_SECONDS
                await asyncio.sleep(self._random.uniform(0, pause_seconds))
