"""Processes that make load: forks of one that has loaded what they run."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from multiprocessing import get_context
from multiprocessing.connection import Connection
from typing import Any

PROGRAMS = ("bench.fleet.holder", "bench.fleet.contended_row", "bench.fleet.many_holders")
PATIENCE_SECONDS = 120
_CONTEXT = get_context("forkserver")
_CONTEXT.set_forkserver_preload(list(PROGRAMS))

Work = Callable[[Connection, Any], None]
"""Runs in the process. It sends a message when it can begin, waits for one, and sends its result."""


class Worker:
    """A process, and what it has said."""

    def __init__(self, work: Work, job: object) -> None:
        """Start it."""
        self._ours, theirs = _CONTEXT.Pipe()
        self._process = _CONTEXT.Process(target=work, args=(theirs, job), daemon=True)
        self._process.start()
        theirs.close()

    def hear(self) -> Any:
        """Return its next message."""
        assert self._ours.poll(PATIENCE_SECONDS), "a process of the load does not answer"
        return self._ours.recv()

    def tell(self, message: object) -> None:
        """Send it a message."""
        self._ours.send(message)

    def kill(self) -> None:
        """End it at once."""
        self._process.kill()
        self._process.join()


@contextmanager
def workers(work: Work, jobs: Sequence[object]) -> Iterator[list[Worker]]:
    """Start a process for each job; in the end, none is left."""
    started = [Worker(work, job) for job in jobs]
    try:
        yield started
    finally:
        for worker in started:
            worker.kill()


def together(work: Work, jobs: Sequence[object]) -> list[Any]:
    """Run a process for each job, all at the same time; return their results."""
    with workers(work, jobs) as started:
        for worker in started:
            worker.hear()
        for worker in started:
            worker.tell("go")
        return [worker.hear() for worker in started]
