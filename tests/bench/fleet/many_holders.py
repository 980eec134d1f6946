"""Many holders that ask for shares of one budget, over a few connections."""

import asyncio
import time
from collections import deque
from collections.abc import Iterator
from multiprocessing.connection import Connection
from pathlib import Path
from typing import NamedTuple

from sidecar.domain.decisions import Meter
from sidecar.domain.sharing import BudgetKey, Demand
from sidecar.domain.windows import FOREVER_US, Window
from sidecar.fleet.connection import BooksConnection
from sidecar.fleet.postgres import PostgresBooks
from sidecar.fleet.protocol import Exchange, Item, SharedBooks

BUDGET = BudgetKey("team-budget", Meter.COST, Window.TOTAL, "ml", 0)
CEILING = 10**15
NEED, WISH = 100, 3_000
DEADLINE_SECONDS = 20.0
"""They wait for each other for longer than a sidecar would: none is to give up."""


class ManyJob(NamedTuple):
    """Holders in one process."""

    url_file: Path
    first: int
    """Of their numbers."""
    holders: int
    connections: int
    seconds: float


class AskingHolder:
    """A holder that has used its share whenever it exchanges, and asks for more."""

    def __init__(self, number: int) -> None:
        """Name it by its number."""
        self._uid = f"{number:032x}"
        self._version, self._have, self._timeline, self._fleet_id = 0, 0, 0, ""

    async def exchange(self, books: SharedBooks) -> None:
        """Exchange once, with an item that asks."""
        demand = Demand(self._have, self._have, 0, NEED, WISH)
        answer = await books.exchange(
            Exchange(
                self._uid, 1, self._uid, self._version + 1, self._timeline, self._fleet_id, "UTC",
                "pod", (Item(BUDGET, FOREVER_US, CEILING, demand),),
            )
        )  # fmt: skip
        [entry] = answer.entries
        assert entry.share.granted >= self._have + NEED, entry
        self._version, self._have = self._version + 1, entry.share.granted
        self._timeline, self._fleet_id = answer.timeline, answer.fleet_id


def run(connection: Connection, job: ManyJob) -> None:
    """Send how long each exchange took, in milliseconds, once all holders are in the books."""
    asyncio.run(_run(connection, job))


async def _run(connection: Connection, job: ManyJob) -> None:
    all_books = [
        PostgresBooks(BooksConnection(job.url_file), deadline_seconds=DEADLINE_SECONDS)
        for _ in range(job.connections)
    ]
    waiting: deque[AskingHolder] = deque()
    took_ms: list[float] = []

    async def join(books: SharedBooks, joining: Iterator[AskingHolder]) -> None:
        for holder in joining:
            await holder.exchange(books)
            waiting.append(holder)

    async def take_turns(books: SharedBooks, ends: float) -> None:
        is_over = False
        while not is_over:  # once at least
            began, holder = time.monotonic(), waiting.popleft()
            await holder.exchange(books)
            took_ms.append((time.monotonic() - began) * 1000)
            waiting.append(holder)
            is_over = time.monotonic() >= ends

    joining = iter([AskingHolder(job.first + number) for number in range(job.holders)])
    await asyncio.gather(*(join(books, joining) for books in all_books))
    connection.send("ready")
    connection.recv()
    ends = time.monotonic() + job.seconds
    await asyncio.gather(*(take_turns(books, ends) for books in all_books))
    connection.send(took_ms)
