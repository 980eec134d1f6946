"""Maintenance of a ledger: expiry, pruning, burn alerts and key usage, periodically."""

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable

from sidecar.authorization.authorizer import Authorizer
from sidecar.domain.clock import Clock
from sidecar.ledger.protocol import (
    MAX_USES_PER_TRANSACTION,
    KeyLedger,
    Ledger,
    LedgerUnavailableError,
    OperatorLedger,
)
from sidecar.runtime.disk_watch import DiskWatch

log = logging.getLogger(__name__)

EXPIRE_EVERY_SECONDS = 1.0
PRUNE_EVERY_SECONDS = 60.0
BURN_EVERY_SECONDS = 60.0
KEYS_EVERY_SECONDS = 10.0
DISK_EVERY_SECONDS = 1.0


async def run_maintenance(ledger: Ledger, clock: Clock, retention_us: int) -> None:
    """Expire holds, prune old entries and check burn rates, until cancelled."""
    await asyncio.gather(
        _repeat(EXPIRE_EVERY_SECONDS, lambda: ledger.expire(clock()), "expired holds stay open"),
        _repeat(
            PRUNE_EVERY_SECONDS,
            lambda: ledger.prune(clock(), retention_us),
            "old entries are not pruned",
        ),
        _repeat(
            BURN_EVERY_SECONDS, lambda: _once(ledger.burn(clock())), "burn rates are not checked"
        ),
    )


async def maintain_keys(ledger: KeyLedger, authorizer: Authorizer, clock: Clock) -> int:
    """Update the revoked versions and count the use of keys; return how many calls were counted.

    Raises alerts for old versions in use. It starts from the current data: a reload may have
    changed the keys, and a rotation their versions.
    """
    authorizer.revoked_versions = ledger.revoked_versions()
    await ledger.track(authorizer.policy.catalogue.keys, clock())
    await ledger.keys_in_use(clock())
    return await ledger.count_usage()


async def sync_keys(ledger: KeyLedger, authorizer: Authorizer, clock: Clock) -> None:
    """Run key maintenance once before the first call; failures are left to the next run."""
    with contextlib.suppress(LedgerUnavailableError):
        await maintain_keys(ledger, authorizer, clock)


async def run_key_maintenance(ledger: KeyLedger, authorizer: Authorizer, clock: Clock) -> None:
    """Maintain keys until cancelled."""

    async def maintain() -> int:
        # New calls come in all the time: only a full batch is followed by another at once.
        counted = await maintain_keys(ledger, authorizer, clock)
        return counted if counted >= MAX_USES_PER_TRANSACTION else 0

    await _repeat(KEYS_EVERY_SECONDS, maintain, "the use of keys is not counted")


async def watch_disk(ledger: OperatorLedger) -> None:
    """Watch the ledger's disk until cancelled, from now on."""
    watch = DiskWatch(ledger)
    with contextlib.suppress(LedgerUnavailableError):
        await watch.look()
    await _repeat(DISK_EVERY_SECONDS, watch.look, "no room on the disk is reserved")


async def _repeat(every_seconds: float, work: Callable[[], Awaitable[int]], meanwhile: str) -> None:
    """Run the work periodically, each time until it returns 0; log `meanwhile` when it fails."""
    while True:
        await asyncio.sleep(every_seconds)
        try:
            while await work():
                pass
        except LedgerUnavailableError as error:
            log.warning("%s for now: %s", meanwhile, error)


async def _once(work: Awaitable[int]) -> int:
    await work
    return 0
