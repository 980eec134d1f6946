"""Readiness: calls cannot be decided while the ledger cannot be written."""

import asyncio
import logging
from collections.abc import Mapping
from typing import Protocol

from sidecar.ledger.protocol import Ledger, LedgerUnavailableError

log = logging.getLogger(__name__)

TRY_EVERY_SECONDS = 1.0


class ReadinessReport(Protocol):
    """Receives changes of readiness."""

    async def __call__(self, *, ready: bool) -> None:
        """Set whether calls can be decided from now on."""


class Readiness:
    """Becomes not ready when a commit fails, and probes the ledger until a write works.

    It cannot wait for a call to succeed: a load balancer may send none until it is ready.
    """

    def __init__(self, ledger: Ledger, report: ReadinessReport) -> None:
        """Report each change; an open ledger starts as ready."""
        self._ledger = ledger
        self._report = report
        self._failed = asyncio.Event()
        self._why = ""

    def committed(self, requests: int, seconds: float, closed: Mapping[str, int]) -> None:
        """See CommitWatcher.committed. It proves nothing: there may have been nothing to write."""

    def failed(self, why: str) -> None:
        """See CommitWatcher.failed."""
        self._why = why
        self._failed.set()

    async def run(self) -> None:
        """Report changes until cancelled."""
        while True:
            await self._failed.wait()
            log.warning("not ready: the ledger cannot be written: %s", self._why)
            await self._report(ready=False)
            while self._failed.is_set():
                await asyncio.sleep(TRY_EVERY_SECONDS)
                await self._try()
            log.info("ready again")
            await self._report(ready=True)

    async def _try(self) -> None:
        try:
            await self._ledger.probe()
        except LedgerUnavailableError:
            return
        self._failed.clear()
