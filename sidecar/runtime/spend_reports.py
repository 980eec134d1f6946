"""Reports of what was spent to the fleet's books, as long as a sidecar serves."""

import asyncio
import logging
from collections.abc import Callable
from random import SystemRandom
from time import perf_counter

from sidecar.domain.errors import SidecarError
from sidecar.fleet.protocol import FleetRefusedError
from sidecar.fleet.spend import SpendReporter

log = logging.getLogger(__name__)

EVERY_SECONDS = 30.0
REPORTING_PART = 0.05
"""A report may take this part of the time: those of a large ledger are rarer."""
MAX_SECONDS = 300.0
"""They are not rarer than that: the first of a ledger that joins may take minutes."""
FIRST_SECONDS = 1.0
"""How often a sidecar that starts looks whether the books have answered."""
LEAVE_SECONDS = 3.0
"""How long a sidecar that stops tries to report."""

_random = SystemRandom()


class SpendReports:
    """Reports periodically, while the books know this process as the holder."""

    def __init__(self, reporter: SpendReporter, is_holder: Callable[[], bool]) -> None:
        """Report by a reporter."""
        self._reporter = reporter
        self._is_holder = is_holder
        self._is_failing = False

    async def run(self) -> None:
        """Report until cancelled."""
        while True:
            began_seconds = perf_counter()
            if not await self._report():
                await asyncio.sleep(FIRST_SECONDS)
                continue
            took_seconds = perf_counter() - began_seconds
            every_seconds = EVERY_SECONDS * _random.uniform(0.8, 1.2)
            rest_seconds = min(took_seconds / REPORTING_PART, MAX_SECONDS)
            await asyncio.sleep(max(every_seconds, rest_seconds))

    async def leave(self) -> None:
        """Report for the last time, as far as the books answer."""
        try:
            async with asyncio.timeout(LEAVE_SECONDS):
                await self._report()
        except TimeoutError:
            log.warning("what was spent since the last report is not in the fleet's books")
        finally:
            self._reporter.stop()

    async def _report(self) -> bool:
        """Report, or log the first of several errors; return False where it may not report yet."""
        if not self._is_holder():
            return False
        try:
            await self._reporter.report()
        except (SidecarError, FleetRefusedError) as error:
            if not self._is_failing:
                log.warning(
                    "what was spent is not reported to the fleet's books for now: %s", error
                )
            self._is_failing = True
        else:
            if self._is_failing:
                log.info("what was spent is in the fleet's books again")
            self._is_failing = False
        return True
