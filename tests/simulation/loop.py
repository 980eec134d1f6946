"""An event loop with simulated time, and an order of callbacks that a seed determines."""

import asyncio
import heapq
import itertools
from collections.abc import Callable
from concurrent.futures import Executor
from contextvars import Context
from functools import partial
from random import Random
from typing import Any, TypeVar, TypeVarTuple

from sidecar.domain.clock import SECOND_US

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

OffLoop = Callable[[asyncio.Future[Any], partial[Any]], None]
"""Runs work that was sent to a thread, and resolves its future, now or later."""


class SimulatedLoop(asyncio.BaseEventLoop):
    """Runs callbacks in the order of their times; for equal times the seed determines the order.

    It does not sleep and uses no threads: time jumps to the next callback,
    and work for a thread runs between two steps of the loop.
    """

    off_loop: OffLoop

    def __init__(self, seed: int) -> None:
        """Start at time 0, in seconds."""
        super().__init__()
        self.random = Random(seed)  # noqa: S311 - no secret
        self.trace: list[str] = []
        self.wall_us = 0
        """The wall clock minus the loop's time; a world may change it at any time."""
        self.latest_us = 0
        """The latest time that the wall clock has shown."""
        self._commit_seconds = self.random.choice([0.001, 0.03])
        self._now = 0.0
        self._due: list[tuple[float, float, int, asyncio.TimerHandle]] = []
        self._numbers = itertools.count()
        self._failure: BaseException | None = None
        self.over = False
        """Whether the world has ended, so that errors are ignored."""

    def note(self, what: str) -> None:
        """Add an event to the trace."""
        self.trace.append(f"{self._now:10.6f} {what}")

    def maybe(self, chance: float) -> bool:
        """Return True with this probability, by the seed."""
        return self.random.random() < chance

    async def pause(self, mean_seconds: float) -> None:
        """Wait for a random time with this mean."""
        await asyncio.sleep(self.random.expovariate(1 / mean_seconds))

    def clock(self) -> int:
        """Return the wall clock's time, in microseconds since the epoch."""
        now_us = self.wall_us + int(self._now * SECOND_US)
        self.latest_us = max(self.latest_us, now_us)
        return now_us

    def time(self) -> float:
        """Return the loop's own time."""
        return self._now

    def call_soon(
        self,
        callback: Callable[[*Ts], object],
        *args: *Ts,
        context: Context | None = None,
    ) -> asyncio.TimerHandle:
        """Call at the current time, in random order with other callbacks."""
        return self.call_at(self._now, callback, *args, context=context)

    def call_at(
        self,
        when: float,
        callback: Callable[[*Ts], object],
        *args: *Ts,
        context: Context | None = None,
    ) -> asyncio.TimerHandle:
        """Call at a later time."""
        handle = asyncio.TimerHandle(when, callback, args, self, context)
        entry = (when, self.random.random(), next(self._numbers), handle)
        heapq.heappush(self._due, entry)
        return handle

    def run_in_executor(
        self,
        executor: Executor | None,  # noqa: ARG002 - threads are simulated
        func: Callable[[*Ts], T],
        *args: *Ts,
    ) -> asyncio.Future[T]:
        """Do the work a little later, without a thread."""
        done: asyncio.Future[T] = self.create_future()
        delay = self.random.expovariate(1 / self._commit_seconds)
        self.call_later(delay, self.off_loop, done, partial(func, *args))
        return done

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        """Fail the world: an error in a task that no code awaits is a failure, too."""
        self._failure = context.get("exception") or RuntimeError(context["message"])

    def _run_once(self) -> None:
        assert self._due, "deadlock: a task waits for an event that cannot happen"
        self._now, _, _, handle = heapq.heappop(self._due)
        if not handle.cancelled():
            self._call(handle)
        if self._failure is not None and not self.over:
            raise self._failure

    def _call(self, handle: asyncio.TimerHandle) -> None:
        handle._run()  # noqa: SLF001 - as the loops of asyncio do
