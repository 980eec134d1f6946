"""A simulated loop that several processes share: one may stand still, or end at any moment."""

import asyncio
import heapq
import re
from collections.abc import Coroutine, Generator
from contextvars import Context, ContextVar
from typing import Any, TypeVar
from weakref import WeakSet

from simulation.loop import SimulatedLoop

T = TypeVar("T")

OF_THE_DEAD = "Task was destroyed|(Future|Change) exception was never retrieved"
"""What asyncio reports of a process that was killed."""


class Owner:
    """A run of a process, whose callbacks run only while it lives, and does not stand still."""

    is_dead = False
    stands_still_until = 0.0
    """In seconds of the loop."""

    def __init__(self) -> None:
        """Begin without tasks."""
        self.tasks: WeakSet[asyncio.Task[Any]] = WeakSet()
        """All that it has begun."""


OWNER: ContextVar[Owner | None] = ContextVar("owner", default=None)
"""Whose callback it is; None for the world's own."""


class FleetLoop(SimulatedLoop):
    """Drops the callbacks of dead processes, and puts off those of one that stands still."""

    def __init__(self, seed: int) -> None:
        """See SimulatedLoop."""
        super().__init__(seed)
        self.commit_seconds = self._commit_seconds

    def create_task(
        self,
        coro: Generator[Any, None, T] | Coroutine[Any, Any, T],
        *,
        name: object = None,
        context: Context | None = None,
    ) -> asyncio.Task[T]:
        """See BaseEventLoop.create_task."""
        task = super().create_task(coro, name=name, context=context)
        owner = OWNER.get() if context is None else context.get(OWNER)
        if owner is not None:
            owner.tasks.add(task)
        return task

    def _call(self, handle: asyncio.TimerHandle) -> None:
        owner = handle._context.get(OWNER)  # type: ignore[attr-defined]  # noqa: SLF001
        if owner is None or (owner.stands_still_until <= self._now and not owner.is_dead):
            super()._call(handle)
        elif not owner.is_dead:
            again = (owner.stands_still_until, self.random.random(), next(self._numbers), handle)
            heapq.heappush(self._due, again)

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        """See SimulatedLoop. A killed process does not end its tasks, and waits for nothing."""
        if not re.match(OF_THE_DEAD, context["message"]):
            super().call_exception_handler(context)
