"""Group commit: one transaction for the requests that wait at the same time.

The statements of a group run on the event loop, where nothing competes for the
interpreter lock; only COMMIT, which waits for the disk, runs in a thread. Requests
that arrive meanwhile form the next group. So a group costs two thread switches,
whatever its size, and its size grows with the load.
"""

import asyncio
import contextlib
import sqlite3
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple, TypeVar

from sidecar.ledger.change import Change, NotYetError, same
from sidecar.ledger.protocol import LedgerUnavailableError

MAX_GROUP_REQUESTS = 256
"""Requests in one transaction: bounds how long a group blocks the event loop."""

GATHER_SECONDS = 0.002
"""How long a group waits for the next of the requests it expects."""

MAX_GATHER_SECONDS = 0.02
"""How long it waits for all of them."""

MAX_BUSY_TRIES = 200
BUSY_WAIT_SECONDS = 0.01
"""How long another process may lock the file before requests fail: 2 s."""

MAX_COMMIT_SECONDS = 5.0
"""How long a COMMIT may wait for the disk before that counts as a problem."""

# Errors of the file, which fail the whole group; all others fail one request.
_FILE_ERRORS = (sqlite3.OperationalError, LedgerUnavailableError)

P = TypeVar("P")
T = TypeVar("T")
R = TypeVar("R")


class _Request(NamedTuple):
    """Queued work, and the future of its result."""

    prepare: Callable[[], Any]
    work: Callable[[Any], Any]
    then: Callable[[Any], Any]
    change: Change[Any]
    frees_room: bool = False

    def run(self, refusals: tuple[type[Exception], ...]) -> Any:
        """Return the result, or the error that fails this request alone."""
        try:
            prepared = self.prepare()
        except sqlite3.Error:  # of the file, as in the work
            raise
        except Exception as error:  # raised where the request came from
            return error
        try:
            return self.work(prepared)
        except NotYetError as not_yet:
            return not_yet
        except refusals as refusal:
            return refusal


class GroupCommit:
    """Runs work in transactions of one connection; a result is returned after its commit."""

    def __init__(
        self,
        connection: sqlite3.Connection,
        refusals: tuple[type[Exception], ...],
        rolled_back: Callable[[], None],
        finish: Callable[[], None] = lambda: None,
        committed: Callable[[int, float], None] = lambda _requests, _seconds: None,
        failed: Callable[[str], None] = lambda _: None,
        check: Callable[[], None] = lambda: None,
        make_room: Callable[[], None] = lambda: None,
    ) -> None:
        """Take over the connection, which no other code may use.

        Work may raise one of `refusals` before it has written. Callbacks: `finish` before
        each COMMIT; `rolled_back` after a ROLLBACK; `committed` with the number of requests
        and the seconds that COMMIT took; `failed` with the message of an error of the file;
        `check` before each transaction and after it, which raises LedgerUnavailableError if
        its results must not be returned; `make_room` after an error of SQLite, in the thread of
        commits.
        """
        self._connection = connection
        self._refusals = refusals
        self._finish = finish
        self._rolled_back = rolled_back
        self._committed = committed
        self._failed = failed
        self._check = check
        self._make_room = make_room
        self._queue: list[_Request] = []
        self._between: list[tuple[Callable[[], None], asyncio.Future[None]]] = []
        self._commit_began: float | None = None
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="ledger-commit")
        self._draining: asyncio.Task[None] | None = None
        self._expected = 1
        self._gathered: asyncio.Future[None] | None = None

    async def run(self, work: Callable[[], T], *, frees_room: bool = False) -> T:
        """Run the work in the next group; return its result when it is on disk.

        Work that `frees_room` runs before the rest of its group. Cancelling the caller does not
        undo the work. Raises the work's refusal, or LedgerUnavailableError.
        """
        return await self.submit(_nothing, lambda _: work(), same, firm=True, frees_room=frees_room)

    def submit(
        self,
        prepare: Callable[[], P],
        work: Callable[[P], T],
        then: Callable[[T], R],
        *,
        firm: bool = False,
        frees_room: bool = False,
    ) -> Change[R]:
        """Prepare the work in the next group, and do it with what that returned.

        `prepare` writes nothing, so what it raises fails this request alone. After the COMMIT,
        `then` gets the result of the work, whether a caller waits or not, and what it returns is
        the result of the change. Without `firm`, the change becomes firm when its group begins;
        if it is cancelled before, nothing of this is done. Its errors are those of `prepare`, and
        those of `run`.
        """
        change: Change[R] = Change()
        change.firm = firm
        self._queue_up(_Request(prepare, work, then, change, frees_room))
        return change

    def _queue_up(self, request: _Request) -> None:
        """Let a request wait for its group."""
        self._queue.append(request)
        if self._gathered is not None and len(self._queue) >= self._expected:
            _wake(self._gathered)
        if self._draining is None:
            self._draining = asyncio.create_task(self._drain())

    async def between(self, work: Callable[[], None]) -> None:
        """Run the work in the thread of commits, between two transactions. Raises its error."""
        future = asyncio.get_running_loop().create_future()
        self._between.append((work, future))
        if self._draining is None:
            self._draining = asyncio.create_task(self._drain())
        await future

    @property
    def waiting(self) -> int:
        """Requests that are in no group yet."""
        return len(self._queue)

    def problem(self) -> str:
        """Return why requests wait without end; empty while they do not."""
        began = self._commit_began
        if began is None or time.perf_counter() - began < MAX_COMMIT_SECONDS:
            return ""
        return f"the disk does not answer: a commit has taken more than {MAX_COMMIT_SECONDS:g} s"

    async def close(self) -> None:
        """Commit what is queued and stop."""
        while self._draining is not None:
            await self._draining
        self._thread.shutdown()

    async def _drain(self) -> None:
        group: list[_Request] = []
        try:
            while self._queue or self._between:
                await self._run_between()
                await self._gather()
                group, self._queue = (
                    self._queue[:MAX_GROUP_REQUESTS],
                    self._queue[MAX_GROUP_REQUESTS:],
                )
                group = _wanted(group)
                for request in group:
                    request.change.firm = True
                if group:
                    await self._commit(sorted(group, key=lambda request: not request.frees_room))
                self._expected = min(len(group) + len(self._queue), MAX_GROUP_REQUESTS)
        except asyncio.CancelledError:  # the loop is about to end
            for request in (*group, *self._queue):
                request.change.abandon()
            raise
        finally:
            self._draining = None

    async def _run_between(self) -> None:
        between, self._between = self._between, []
        for work, future in between:
            try:
                await asyncio.get_running_loop().run_in_executor(self._thread, work)
            except Exception as error:  # raised where the work came from
                if not future.done():
                    future.set_exception(error)
            else:
                if not future.done():
                    future.set_result(None)

    async def _gather(self) -> None:
        """Wait until as many requests are queued as the next group is expected to have.

        That is the size of the last group, whose callers are likely to call again, and the
        requests that came during its commit. The wait ends early when no request comes for
        GATHER_SECONDS. So under load a group grows to all concurrent callers, which share
        one commit; a single caller does not wait.
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

    async def _commit(self, group: list[_Request], *, repeats: bool = True) -> None:
        """Run a group in a transaction. What frees room is repeated once, if there was none."""
        try:
            self._check()
            await self._begin()
            results = [request.run(self._refusals) for request in group]
            self._finish()
            began = self._commit_began = time.perf_counter()
            loop = asyncio.get_running_loop()
            await loop.run_in_executor(self._thread, self._connection.execute, "COMMIT")
            took_seconds = time.perf_counter() - began
            self._check()
        except Exception as error:  # after any error nothing of the group may stay
            self._roll_back()
            if isinstance(error, _FILE_ERRORS):
                self._failed(_why(error))
            if repeats and isinstance(error, sqlite3.OperationalError):
                repeated, group = _parted(group)
            else:
                repeated = []
            if len(group) == 1 or isinstance(error, _FILE_ERRORS):
                self._resolve(group, [LedgerUnavailableError(_why(error))] * len(group))
            else:  # one request is at fault: only that one fails
                for one in group:
                    await self._commit([one])
            if isinstance(error, sqlite3.OperationalError):
                await self._try_to_make_room()
            if repeated:
                await self._commit(repeated, repeats=False)
        else:
            self._resolve(group, results)
            self._committed(len(group), took_seconds)
        finally:
            self._commit_began = None

    def _resolve(self, group: list[_Request], results: list[Any]) -> None:
        for request, result in zip(group, results, strict=True):
            if isinstance(result, NotYetError):
                self._postpone(request, result.until)
            elif isinstance(result, Exception):
                request.change.set_exception(result)
            else:
                try:
                    request.change.set_result(request.then(result))
                except Exception as error:  # raised where the request came from
                    request.change.set_exception(error)

    def _postpone(self, request: _Request, until: asyncio.Future[None]) -> None:
        """Let a request wait; meanwhile it can be cancelled, as it has changed nothing."""
        request.change.firm = False

        def again(until: asyncio.Future[None]) -> None:
            failure = until.exception()
            if request.change.done():
                return
            if failure is None:
                self._queue_up(request)
            else:
                request.change.set_exception(failure)

        until.add_done_callback(again)

    async def _try_to_make_room(self) -> None:
        loop = asyncio.get_running_loop()
        with contextlib.suppress(sqlite3.Error, OSError):
            await loop.run_in_executor(self._thread, self._make_room)

    async def _begin(self) -> None:
        for _ in range(MAX_BUSY_TRIES):
            try:
                self._connection.execute("BEGIN IMMEDIATE")
            except sqlite3.OperationalError as error:
                if error.sqlite_errorcode != sqlite3.SQLITE_BUSY:
                    raise
                await asyncio.sleep(BUSY_WAIT_SECONDS)
            else:
                return
        raise LedgerUnavailableError("another process keeps the ledger file locked")

    def _roll_back(self) -> None:
        with contextlib.suppress(sqlite3.Error):  # SQLite may have rolled back by itself
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
        self._rolled_back()


def _nothing() -> None:
    """Prepare nothing."""


def _wake(waiting: asyncio.Future[None]) -> None:
    if not waiting.done():
        waiting.set_result(None)


def _wanted(group: list[_Request]) -> list[_Request]:
    """Return the requests that have not been cancelled."""
    return [request for request in group if not request.change.cancelled()]


def _parted(group: list[_Request]) -> tuple[list[_Request], list[_Request]]:
    """Return the requests that free room, and the others."""
    return (
        [request for request in group if request.frees_room],
        [request for request in group if not request.frees_room],
    )


def _why(error: Exception) -> str:
    """Return SQLite's message; of other errors, which may contain values, only the type."""
    safe = isinstance(error, sqlite3.Error | LedgerUnavailableError)
    return str(error) if safe else type(error).__name__
