"""A simulated sidecar process, which crashes, and restarts on the files after the crash."""

import asyncio
import sqlite3
import tempfile
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from functools import cache, partial
from pathlib import Path
from typing import Any, TypeVar
from zoneinfo import ZoneInfo

from support import policies

from sidecar.authorization.authorizer import Authorizer
from sidecar.authorization.usage_bounds import UsageBounds
from sidecar.domain.clock import SECOND_US
from sidecar.ledger.sqlite import SqliteLedger
from sidecar.policy import policy_set
from sidecar.policy.policy_set import PolicySet
from simulation.disk import CrashedError, Disk, Files, read
from simulation.loop import SimulatedLoop
from simulation.promises import Promises

T = TypeVar("T")

ZONE = ZoneInfo("Europe/Paris")
DOWN_SECONDS = 0.1
ANSWER_SECONDS = 0.001

_MEMORY = Path("/dev/shm")  # noqa: S108 - a folder of our own is made there
FOLDERS = str(_MEMORY) if _MEMORY.is_dir() else None
"""In memory if possible: the seed determines what a crash leaves, not the disk."""

_POLICIES = {
    "minute": policies.limit("8", window="minute"),
    "hour": policies.limit("300", meter="tokens", window="hour", extra="// on_expiry: release\n"),
    "day": policies.limit("320", meter="tokens"),
    "week": policies.limit(
        "400", meter="tokens", window="week", extra="// starts_on: sunday\n// starts_at: 03:00\n"
    ),
    "month": policies.limit("0.00034", meter="cost", window="month"),
    "total": policies.limit("0.0012", meter="cost", window="total"),
    "at_once": policies.limit("2", window="concurrent", per="principal.id"),
    "careful": policies.deny('request.tokens > 80 && spend["day"].fraction > 0.7'),
}


@dataclass
class ProcessRun:
    """One run of the process, from its start to its end."""

    path: Path
    ledger: SqliteLedger
    authorizer: Authorizer
    inspector: sqlite3.Connection
    """A connection of its own, which sees only committed data."""
    in_flight: list[asyncio.Task[Any]] = field(default_factory=list)
    ending: bool = False
    left: Files | None = None
    """The files after the crash, if it ended by one."""

    async def end(self) -> None:
        """Finish the calls in flight, and close the files."""
        self.ending = True
        if self.in_flight:
            await asyncio.wait(self.in_flight)
        self.inspector.close()
        try:
            await self.ledger.close()
        except asyncio.CancelledError:  # it crashed in its last commit; close the files
            await self.ledger.close()


class Process:
    """The real authorizer and ledger, with restarts. Each run of it is a ProcessRun."""

    def __init__(self, loop: SimulatedLoop, folder: Path, disk: Disk, promises: Promises) -> None:
        """Start on an empty ledger in the folder."""
        self._loop, self._folder, self._disk, self._promises = loop, folder, disk, promises
        loop.off_loop = self._off_loop
        self._runs = 0
        self._restarting: asyncio.Task[None] | None = None
        self.current = self._start({"": empty_ledger()})

    async def call(
        self, work: Callable[[ProcessRun], Awaitable[T]], patience_seconds: float | None = None
    ) -> T:
        """Call the process. Raises what the work raises, or ConnectionError without a response.

        A caller that times out cancels the call.
        """
        if self.current.ending:
            raise ConnectionRefusedError
        handler = self._loop.create_task(_handled(work, self.current))
        self.current.in_flight.append(handler)
        await asyncio.wait([handler], timeout=patience_seconds)
        if not handler.done():
            handler.cancel()
            raise ConnectionAbortedError
        if handler.cancelled():
            raise ConnectionResetError
        return handler.result()

    def restart(self) -> None:
        """End this run, and start the next one on its files."""
        if not self.current.ending:
            self.current.ending = True
            self._restarting = self._loop.create_task(self._next_run())
            self._restarting.add_done_callback(lambda task: task.cancelled() or task.result())

    async def stop(self) -> None:
        """End the last run, and check all promises on the ledger."""
        while self._restarting is not None:
            await self._restarting
        await self.current.end()
        inspector = sqlite3.connect(self.current.path)
        self._promises.check_ledger(inspector)
        inspector.close()

    def _off_loop(self, done: asyncio.Future[Any], commit: partial[Any]) -> None:
        """Commit, and return a moment later, or crash."""
        current = self.current
        try:
            answer = partial(done.set_result, self._disk.commit(current.path, commit))
        except sqlite3.Error as error:
            answer = partial(done.set_exception, error)
        except CrashedError as crash:
            current.left = crash.files
            for task in (*current.in_flight, done):
                task.cancel()
            self.restart()
            return
        if not current.ending:
            self._promises.check_admissions(current.inspector)
        self._loop.call_later(self._loop.random.expovariate(1 / ANSWER_SECONDS), answer)

    async def _next_run(self) -> None:
        await self.current.end()
        await self._loop.pause(DOWN_SECONDS)
        self.current = self._start(self.current.left or read(self.current.path))
        self._promises.check_ledger(self.current.inspector)
        self._restarting = None

    def _start(self, files: Files) -> ProcessRun:
        self._runs += 1
        path = self._folder / f"{self._runs}.sqlite"
        for end, content in files.items():
            Path(f"{path}{end}").write_bytes(content)
        clock = self._loop.clock
        ledger = SqliteLedger(path, ZONE, entropy=self._loop.random.randbytes)
        authorizer = Authorizer(_policy(), ledger, clock, 10 * SECOND_US, bounds=_NO_BOUNDS)
        return ProcessRun(path, ledger, authorizer, sqlite3.connect(path))


async def _handled(work: Callable[[ProcessRun], Awaitable[T]], run: ProcessRun) -> T:
    return await work(run)


_NO_BOUNDS = UsageBounds(max_settled_tokens=2**64)
"""So that an amount can be too large for the ledger, too."""


@cache
def _policy() -> PolicySet:
    with tempfile.TemporaryDirectory() as folder:
        return policy_set.load(policies.minimal(Path(folder), **_POLICIES))


@cache
def empty_ledger() -> bytes:
    """Return the file of a new ledger."""
    with tempfile.TemporaryDirectory(dir=FOLDERS) as folder:
        path = Path(folder) / "empty.sqlite"
        asyncio.run(SqliteLedger(path, ZONE).close())
        return path.read_bytes()
