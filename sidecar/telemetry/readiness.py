"""Whether calls can be decided: not while the ledger cannot be written."""

import asyncio
import logging
from collections.abc import Mapping
from typing import Protocol

from sidecar.ledger.protocol import Ledger, LedgerUnavailableError

log = logging.getLogger(__name__)

TRY_EVERY_SECONDS = 1.0


class ReadinessReport(Protocol):
    """Tells whoever probes."""

    async def __call__(self, *, ready: bool) -> None:
        """Say whether calls can be decided from now on."""


class Readiness:
    """Hears of commits that fail, and then tries to write until that works.

    Calls alone could not tell: whoever asks for readiness may send none until there is some.
    """

    def __init__(self, ledger: Ledger, report: ReadinessReport) -> None:
        """Report each change. The ledger has been opened, so calls can be decided."""
        self._ledger = ledger
        self._report = report
        self._failed = asyncio.Event()
        self._why = ""

    def committed(self, requests: int, seconds: float, closed: Mapping[str, int]) -> None:
        """See CommitWatcher.committed. It may have had nothing to write, so it tells nothing."""

    def failed(self, why: str) -> None:
        """See CommitWatcher.failed."""
        self._why = why
        self._failed.set()

    async def run(self) -> None:
        """Report, until cancelled."""
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
