"""A simulated world: the seed determines the events, their times and the faults."""

import asyncio
import hashlib
import sqlite3
import tempfile
from contextlib import closing, suppress
from datetime import UTC, datetime
from pathlib import Path

from sidecar.domain.clock import SECOND_US, to_us
from sidecar.ledger.protocol import LedgerUnavailableError
from simulation.client import Client
from simulation.disk import Disk
from simulation.loop import SimulatedLoop
from simulation.process import FOLDERS, Process
from simulation.promises import Promises

DAY_US = 86_400 * SECOND_US
RETENTION_US = DAY_US
NAMES = ["ada", "bob", "cy", "dot", "eve"]

STARTS_US = [
    to_us(datetime(2026, 10, 25, 0, 59, 50, tzinfo=UTC)),  # Paris sets its clocks back
    to_us(datetime(2026, 10, 31, 22, 59, 50, tzinfo=UTC)),  # a month ends in Paris
    to_us(datetime(2026, 11, 10, 12, tzinfo=UTC)),
]
JUMPS_SECONDS = [0.1, 1, 10, 20, 60, 3600, 86_400, 40 * 86_400, -0.1, -20, -3600, -86_400]


class World:
    """One world, built from a seed, which runs once."""

    def __init__(self, seed: int) -> None:
        """Draw the world's parameters from the seed."""
        self._seed = seed
        self._loop = loop = SimulatedLoop(seed)
        loop.wall_us = loop.random.choice(STARTS_US)
        self.trace = loop.trace
        self._promises = Promises()
        self._pace_seconds = loop.random.choice([0.001, 0.02, 1])
        self._disk = Disk(loop, loop.random.choice([0, 0.05, 0.1, 0.2]))
        self.faults = self._disk.faults

    @property
    def digest(self) -> str:
        """A hash of the trace."""
        return hashlib.sha256("\n".join(self.trace).encode()).hexdigest()

    def run(self) -> None:
        """Run to the end. Raises BrokenPromiseError, or any other error that should not occur.

        The error has a note with the command that repeats it.
        """
        with tempfile.TemporaryDirectory(dir=FOLDERS) as folder:
            self._process = Process(self._loop, Path(folder), self._disk, self._promises)
            try:
                self._loop.run_until_complete(self._run_clients())
            except BaseException as error:
                error.add_note(f"make simulate SEED={self._seed}")
                raise
            finally:
                self._disk.rate, self._loop.over = 0, True
                self._loop.run_until_complete(self._close())
                self._loop.close()

    async def _run_clients(self) -> None:
        events = self._loop.create_task(self._cause_events())
        clients = [
            Client(name, self._pace_seconds, self._loop, self._process, self._promises)
            for name in NAMES[: self._loop.random.randint(1, len(NAMES))]
        ]
        await asyncio.gather(*(client.make_calls() for client in clients))
        events.cancel()
        self._disk.rate = 0
        await self._process.stop()

    async def _close(self) -> None:
        """Close everything, also after an error."""
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)
        await self._process.current.end()

    async def _cause_events(self) -> None:
        """Cause events other than calls: maintenance, jumps of the clock, restarts, locks."""
        events = [self._expire, self._jump] * 3 + [self._prune, self._restart, self._lock]
        while True:
            await self._loop.pause(2 * self._pace_seconds + 0.3)
            try:
                await self._loop.random.choice(events)()
            except (ConnectionError, LedgerUnavailableError) as error:
                self._loop.note(f"event failed: {type(error).__name__} {error}")

    async def _expire(self) -> None:
        expired = await self._process.call(lambda run: run.ledger.expire(self._loop.clock()))
        self._loop.note(f"expired: {expired}")

    async def _prune(self) -> None:
        now_us = self._loop.clock()
        self._promises.pruned_before_us = self._loop.latest_us - RETENTION_US
        pruned = await self._process.call(lambda run: run.ledger.prune(now_us, RETENTION_US))
        self._loop.note(f"pruned: {pruned}")

    async def _jump(self) -> None:
        seconds = self._loop.random.choice(JUMPS_SECONDS)
        self._loop.note(f"the clock jumps by {seconds} s")
        self._loop.wall_us += int(seconds * SECOND_US)

    async def _lock(self) -> None:
        """Lock the file for a while, as another process could."""
        with closing(
            sqlite3.connect(self._process.current.path, 0, isolation_level=None)
        ) as locker:
            with suppress(sqlite3.OperationalError):  # the ledger has locked it
                locker.execute("BEGIN IMMEDIATE")
                self._loop.note("another process locks the file")
            await asyncio.sleep(self._loop.random.uniform(0, 3))

    async def _restart(self) -> None:
        self._loop.note("the sidecar restarts")
        self._process.restart()
