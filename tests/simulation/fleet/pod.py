"""A simulated pod: the real ledger and exchanger of a holder, which ends at any moment."""

import asyncio
import sqlite3
from collections.abc import Coroutine
from contextvars import Context, copy_context
from functools import partial
from inspect import CORO_CREATED, getcoroutinestate
from pathlib import Path
from random import Random
from types import CoroutineType
from typing import Any, TypeVar

from sidecar.domain.clock import SECOND_US, GuardedClock
from sidecar.domain.errors import SidecarError
from sidecar.fleet.exchanger import Exchanger
from sidecar.fleet.ledger import FleetLedger
from simulation.disk import CrashedError, Disk, Files, read
from simulation.fleet.loop import OWNER, FleetLoop, Owner
from simulation.fleet.network import Link, Network
from simulation.process import empty_ledger
from simulation.promises import BrokenPromiseError

T = TypeVar("T")

ANSWER_SECONDS = 0.001
MAX_DRIFT = 0.001


class DiedError(Exception):
    """The process has ended before it answered."""


class Node:
    """The clocks of a machine."""

    def __init__(self, loop: FleetLoop, offset_us: int) -> None:
        """Be this far ahead of the books' clock at first."""
        self._loop = loop
        self._drift = 1 + loop.random.choice([0.0, 0.0, MAX_DRIFT, -MAX_DRIFT])
        self.offset_us = offset_us
        self._started_us = loop.random.randrange(2**40)

    def wall(self) -> int:
        """Return the time."""
        return self._loop.wall_us + self.offset_us + int(self._passed_us())

    def steady(self) -> int:
        """Return the time since some moment, without steps."""
        return self._started_us + int(self._passed_us())

    def _passed_us(self) -> float:
        return self._loop.time() * self._drift * SECOND_US


class Run(Owner):
    """One run of the process, from its start to its end."""

    def __init__(self, pod: "Pod", path: Path) -> None:
        """Open the ledger. It is not in the fleet until `begin`."""
        loop, node = pod.loop, pod.node
        super().__init__()
        self.pod, self.path = pod, path
        self.died: asyncio.Future[None] = loop.create_future()
        self.context: Context = copy_context()
        self.context.run(OWNER.set, self)
        self.link = Link(loop, pod.network)
        random = Random(loop.random.random())  # noqa: S311 - no secret
        self.exchanger = Exchanger(self.link, node.steady, "UTC", pod.name, random)
        self.ledger = FleetLedger(path, self.exchanger, entropy=loop.random.randbytes)
        self.clock = GuardedClock(node.wall, node.steady, self.ledger.latest_us)
        self.inspector = sqlite3.connect(path)
        """A connection of its own, which sees only committed data."""
        self._exchanging: asyncio.Task[None] | None = None
        self._used: dict[tuple[str, int], int] | None = None
        """What was used of each budget at the last commit."""
        self.is_serving = False

    def spawn(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """Begin work in the process."""
        return self.pod.loop.create_task(work, context=self.context.copy())

    async def begin(self) -> None:
        """Take its place in the fleet, and exchange from now on."""
        await self.exchanger.start(self.ledger, self.clock)
        self._exchanging = self.pod.loop.create_task(self.exchanger.run())
        self.is_serving = True

    async def leave(self) -> None:
        """End as at SIGTERM."""
        if self._exchanging is not None:
            self._exchanging.cancel()
            await asyncio.wait([self._exchanging])
            await self.exchanger.leave()
        await self.ledger.close()

    def close(self) -> None:
        """Let go of the files."""
        for task in self.tasks:
            work = task.get_coro()
            if isinstance(work, CoroutineType) and getcoroutinestate(work) == CORO_CREATED:
                work.close()  # it will never begin
        self.inspector.close()
        self.ledger._opened.close()  # noqa: SLF001 - a killed process closes nothing in order

    def check_commit(self) -> None:
        """G2: what is admitted is within the share on this disk, beside overruns."""
        before, self._used = self._used, {}
        for rule, start_us, used, granted, overruns in self.inspector.execute(
            _USED, {"at_us": self.clock()}
        ):
            self._used[rule, start_us] = used
            # More may be used than a share that has lapsed, or that it had before it joined.
            has_grown = before is not None and used > before.get((rule, start_us), 0)
            if has_grown and used > granted + overruns:
                raise BrokenPromiseError(
                    f"G2 {self.pod.name} has used {used} of {rule}, of which its share is {granted}"
                )


class Pod:
    """A place for a process and its ledger, which may start again with its file, or without."""

    def __init__(
        self, loop: FleetLoop, network: Network, folder: Path, name: str, node: Node, disk: Disk
    ) -> None:
        """Be down at first."""
        self.loop, self.network, self.name, self.node, self.disk = loop, network, name, node, disk
        self._folder = folder
        self._runs = 0
        self.ceilings: dict[str, int] = {}
        self.run: Run | None = None
        self.files: Files = {}
        """What the next run finds."""
        self.branch = name
        """The ledger file; a copy is another."""
        self.is_cut = False

    def start(self) -> None:
        """Start a run on the files."""
        self._runs += 1
        path = self._folder / f"{self.name}-{self._runs}.sqlite"
        for end, content in (self.files or {"": empty_ledger()}).items():
            Path(f"{path}{end}").write_bytes(content)
        self.run = run = Run(self, path)
        run.link.is_cut = self.is_cut
        self.loop.note(f"{self.name} starts")
        run.spawn(self._begin(run)).add_done_callback(_result)

    async def _begin(self, run: Run) -> None:
        try:
            await run.begin()
        except SidecarError as error:  # of the disk
            self.loop.note(f"{self.name} cannot start: {error}")
            self.loop.call_soon(self._kill, run, None, context=Context())

    def kill(self, files: Files | None = None) -> None:
        """End the run at once; keep its files as they are, or these."""
        if self.run is not None:
            self._kill(self.run, files)

    def _kill(self, run: Run, files: Files | None) -> None:
        if run.is_dead:
            return
        self.files = read(run.path) if files is None else files
        run.is_dead, run.is_serving = True, False
        run.close()
        run.died.set_result(None)
        self.run = None

    async def stop(self) -> None:
        """End the run as at SIGTERM."""
        run = self.run
        if run is not None and run.is_serving:
            run.is_serving = False
            leaving: asyncio.Future[None] = run.spawn(run.leave())
            await asyncio.wait([leaving, run.died], return_when=asyncio.FIRST_COMPLETED)
            if not run.is_dead:
                leaving.result()
                self._kill(run, None)

    async def call(self, run: Run, work: Coroutine[Any, Any, T]) -> T:
        """Do work in the process. Raises what it raises, or DiedError."""
        task = run.spawn(work)
        ends: list[asyncio.Future[Any]] = [task, run.died]
        await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            raise DiedError
        return task.result()


def off_loop(loop: FleetLoop, done: asyncio.Future[Any], work: partial[Any]) -> None:
    """Commit, and return a moment later, or crash."""
    run = OWNER.get()
    assert isinstance(run, Run)
    try:
        answer = partial(done.set_result, run.pod.disk.commit(run.path, work))
    except sqlite3.Error as error:
        answer = partial(done.set_exception, error)
    except CrashedError as crash:
        run.pod.kill(crash.files)
        return
    run.check_commit()
    loop.call_later(loop.random.expovariate(1 / ANSWER_SECONDS), answer)


def _result(task: asyncio.Task[None]) -> None:
    if not task.cancelled():
        task.result()


_USED = """
WITH used AS (
  SELECT b.rule, b.meter, b.window, b.scope,
    iif(b.window IN ('minute', 'concurrent'), 0, b.window_start_us) AS start_us,
    sum(b.spent + b.held) AS used, json_group_array(b.id) AS budgets
  FROM budgets b WHERE b.window_end_us > :at_us GROUP BY 1, 2, 3, 4, 5)
SELECT u.rule, u.start_us, u.used, coalesce(s.granted, 0), iif(u.used > coalesce(s.granted, 0), (
  SELECT coalesce(sum(max(0, a.charged - a.held)), 0) FROM hold_amounts a
  WHERE a.budget IN (SELECT value FROM json_each(u.budgets))), 0)
FROM used u
LEFT JOIN shares s ON (s.rule, s.meter, s.window, s.scope, s.window_start_us)
  = (u.rule, u.meter, u.window, u.scope, u.start_us)"""
"""What is used of each budget whose window is open, with the share on disk and overruns."""
