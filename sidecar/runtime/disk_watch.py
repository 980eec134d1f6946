"""Watches the disk of a ledger: it logs what is about to fill it, and keeps a reserve."""

import logging

from sidecar.ledger.disk_use import DiskUse
from sidecar.ledger.protocol import OperatorLedger

log = logging.getLogger(__name__)

LARGE_WAL_BYTES = 128 * 2**20
LARGE_WAL_PARTS = 8
"""A WAL of this size, or of this part of the disk, is kept from being folded into the file."""

LOW_PERCENTS = (10, 2)
"""Of the disk that are free: a line is logged below each."""

_NOT_LOW = 100


class DiskWatch:
    """Logs one line when a threshold is passed, and one when all is well again."""

    def __init__(self, ledger: OperatorLedger) -> None:
        """Watch the disk of this ledger."""
        self._ledger = ledger
        self._has_large_wal = False
        self._low_percent = _NOT_LOW

    async def look(self) -> int:
        """Look once, and keep the reserve; return 0. Raises LedgerUnavailableError."""
        use = self._ledger.disk_use()
        self._log_wal(use)
        self._log_free(use)
        await self._ledger.keep_reserve()
        return 0

    def _log_wal(self, use: DiskUse) -> None:
        large_bytes = min(LARGE_WAL_BYTES, use.disk_bytes // LARGE_WAL_PARTS)
        if not self._has_large_wal and use.wal_bytes >= large_bytes:
            self._has_large_wal = True
            readers = ", ".join(self._ledger.readers()) or "unknown"
            log.warning(
                "the ledger's WAL has %s bytes, and grows while a process keeps reading: %s",
                f"{use.wal_bytes:,}",
                readers,
            )
        elif self._has_large_wal and use.wal_bytes < large_bytes // 2:
            self._has_large_wal = False
            log.info("the ledger's WAL is small again")

    def _log_free(self, use: DiskUse) -> None:
        percent = 100 * use.free_bytes / max(use.disk_bytes, 1)
        passed = [low for low in LOW_PERCENTS if percent < low < self._low_percent]
        if passed:
            self._low_percent = min(passed)
            log.warning(
                "the ledger's disk is nearly full: %s of %s bytes are free",
                f"{use.free_bytes:,}",
                f"{use.disk_bytes:,}",
            )
        elif self._low_percent < _NOT_LOW and percent > 1.5 * max(LOW_PERCENTS):
            self._low_percent = _NOT_LOW
            log.info("the ledger's disk has room again")
