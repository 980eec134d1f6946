"""One writer that commits what many callers ask for, together.

The statements of a group run on the event loop, where nothing competes for the
interpreter lock; only COMMIT, which waits for the disk, runs in a thread. What
arrives meanwhile is the next group. So a group needs two changes of thread,
however many callers it answers, and its size grows with the load by itself.
"""

import asyncio
import contextlib
import sqlite3
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple, TypeVar

from sidecar.ledger.protocol import LedgerUnavailableError

MAX_GROUP = 256
"""Requests in one transaction: bounds how long a group keeps the loop."""

GATHER_SECONDS = 0.002
"""How long a group waits for somebody to come, of those it expects."""

MAX_GATHER_SECONDS = 0.02
"""How long it waits for all of them."""

BUSY_TRIES = 200
BUSY_WAIT_SECONDS = 0.01
"""How long a foreign writer may keep the file before callers are told so: 2 s."""

# These are the file's fault and hit the whole group; others are one request's.
_FOR_ALL = (sqlite3.OperationalError, LedgerUnavailableError)

T = TypeVar("T")


class _Asked(NamedTuple):
    """What somebody asked for."""

    work: Callable[[], Any]
    future: asyncio.Future[Any]
    frees: bool


class GroupCommit:
    """Runs work inside transactions of one connection, each answered after its commit."""

    def __init__(
        self,
        connection: sqlite3.Connection,
        refusals: tuple[type[Exception], ...],
        rolled_back: Callable[[], None],
        finish: Callable[[], None] = lambda: None,
        committed: Callable[[int, float], None] = lambda _requests, _seconds: None,
        failed: Callable[[str], None] = lambda _: None,
    ) -> None:
        """Use the connection alone.

        Work may raise a refusal before it has written. `finish` is the last that a group
        does before its commit; `rolled_back` is called when what it wrote is gone;
        `committed` when it is on disk, with how many asked for it and what COMMIT took;
        `failed` when the file is at fault.
        """
        self._connection = connection
        self._refusals = refusals
        self._finish = finish
        self._rolled_back = rolled_back
        self._committed = committed
        self._failed = failed
        self._queue: list[_Asked] = []
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="ledger-commit")
        self._draining: asyncio.Task[None] | None = None
        self._expected = 1
        self._gathered: asyncio.Future[None] | None = None

    async def run(self, work: Callable[[], T], *, frees: bool = False) -> T:
        """Run the work in the next group; return its answer when that is on disk.

        What `frees` room comes first in its group, before those that need room.
        Raises what the work raised as a refusal, or LedgerUnavailableError.
        A caller that stops waiting does not undo the work.
        """
        future: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._queue.append(_Asked(work, future, frees))
        if self._gathered is not None and len(self._queue) >= self._expected:
            _wake(self._gathered)
        if self._draining is None:
            self._draining = asyncio.create_task(self._drain())
        return await future

    @property
    def waiting(self) -> int:
        """Requests that are in no group yet."""
        return len(self._queue)

    async def close(self) -> None:
        """Commit what is queued and stop."""
        while self._draining is not None:
            await self._draining
        self._thread.shutdown()

    async def _drain(self) -> None:
        try:
            while self._queue:
                await self._gather()
                group, self._queue = self._queue[:MAX_GROUP], self._queue[MAX_GROUP:]
                await self._commit(sorted(group, key=lambda asked: not asked.frees))
                self._expected = min(len(group) + len(self._queue), MAX_GROUP)
        finally:
            self._draining = None

    async def _gather(self) -> None:
        """Wait until as many ask as were there when the last ones were answered.

        That is those who were answered, who are likely to ask again, and those who came
        meanwhile. It is not waited for longer than a moment in which nobody comes. Under
        load groups so grow to all who call at once, and share the cost of one commit; a
        lone caller waits for nobody.
        """
        loop, seen = asyncio.get_running_loop(), 0
        ends = loop.time() + MAX_GATHER_SECONDS
        while seen < len(self._queue) < self._expected and loop.time() < ends:
            seen = len(self._queue)
            self._gathered = loop.create_future()
            timer = loop.call_later(GATHER_SECONDS, _wake, self._gathered)
            await self._gathered
            timer.cancel()
            self._gathered = None

    async def _commit(self, group: list[_Asked]) -> None:
        try:
            await self._begin()
            answers = [self._answer(asked.work) for asked in group]
            self._finish()
            began = time.perf_counter()
            loop = asyncio.get_running_loop()
            await loop.run_in_executor(self._thread, self._connection.execute, "COMMIT")
            took_seconds = time.perf_counter() - began
        except Exception as error:  # whatever it was, nothing of the group may stay
            self._roll_back()
            if isinstance(error, _FOR_ALL):
                self._failed(_why(error))
            if len(group) == 1 or isinstance(error, _FOR_ALL):
                _tell(group, [LedgerUnavailableError(_why(error))] * len(group))
            else:  # one of them is at fault: let it fail alone
                for one in group:
                    await self._commit([one])
        else:
            _tell(group, answers)
            self._committed(len(group), took_seconds)

    async def _begin(self) -> None:
        for _ in range(BUSY_TRIES):
            try:
                self._connection.execute("BEGIN IMMEDIATE")
            except sqlite3.OperationalError as error:
                if error.sqlite_errorcode != sqlite3.SQLITE_BUSY:
                    raise
                await asyncio.sleep(BUSY_WAIT_SECONDS)
            else:
                return
        raise LedgerUnavailableError("another process keeps the ledger file locked")

    def _answer(self, work: Callable[[], Any]) -> Any:
        try:
            return work()
        except self._refusals as refusal:
            return refusal

    def _roll_back(self) -> None:
        with contextlib.suppress(sqlite3.Error):  # SQLite may have rolled back by itself
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
        self._rolled_back()


def _wake(waiting: asyncio.Future[None]) -> None:
    if not waiting.done():
        waiting.set_result(None)


def _tell(group: list[_Asked], answers: list[Any]) -> None:
    for (_, future, _), answer in zip(group, answers, strict=True):
        if future.done():  # its caller has gone
            continue
        if isinstance(answer, Exception):
            future.set_exception(answer)
        else:
            future.set_result(answer)


def _why(error: Exception) -> str:
    """Say what SQLite said; other errors may carry values, so only their kind."""
    safe = isinstance(error, sqlite3.Error | LedgerUnavailableError)
    return str(error) if safe else type(error).__name__
