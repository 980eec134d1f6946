"""Readiness: whether calls can be decided now, and if not, why."""

import asyncio
import contextlib
import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from sidecar.ledger.protocol import Ledger, LedgerUnavailableError

log = logging.getLogger(__name__)

TRY_EVERY_SECONDS = 1.0

Check = Callable[[], str]
"""Returns why calls cannot be decided now; empty if nothing is in the way."""


class ReadinessReport(Protocol):
    """Receives changes of readiness."""

    async def __call__(self, problem: str) -> None:
        """Set why calls cannot be decided from now on; empty if they can."""


class Readiness:
    """Becomes not ready when a commit or a check fails, and ready when all is well again.

    It cannot wait for a call to succeed: a load balancer may send none until it is ready. So
    after a commit that failed, it probes the ledger until a write works.
    """

    def __init__(self, ledger: Ledger, report: ReadinessReport, checks: Sequence[Check]) -> None:
        """Report each change; it starts as ready. The checks are made every second."""
        self._ledger = ledger
        self._report = report
        self._checks = checks
        self._failed = asyncio.Event()
        self._why = ""

    def committed(self, requests: int, seconds: float, closed: Mapping[str, int]) -> None:
        """See CommitWatcher.committed. It proves nothing: there may have been nothing to write."""

    def failed(self, why: str) -> None:
        """See CommitWatcher.failed."""
        self._why = f"the ledger cannot be written: {why}"
        self._failed.set()

    async def run(self) -> None:
        """Report changes until cancelled."""
        problem = ""
        while True:
            before, problem = problem, await self._find(is_known=bool(problem))
            if problem != before:
                if problem:
                    log.warning("not ready: %s", problem)
                else:
                    log.info("ready again")
                await self._report(problem)
            if problem:
                await asyncio.sleep(TRY_EVERY_SECONDS)
                continue
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._failed.wait(), TRY_EVERY_SECONDS)

    async def _find(self, *, is_known: bool) -> str:
        """Return the first problem; a failed commit stays one until a write works."""
        for check in self._checks:
            if problem := check():
                return problem
        if self._why and is_known:
            with contextlib.suppress(LedgerUnavailableError):
                await self._ledger.probe()
                self._why = ""
        if not self._why:
            self._failed.clear()
        return self._why
