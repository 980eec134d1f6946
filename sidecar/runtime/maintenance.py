"""What a ledger needs now and then, whether or not anybody calls."""

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
)

log = logging.getLogger(__name__)

EXPIRE_EVERY_SECONDS = 1.0
PRUNE_EVERY_SECONDS = 60.0
BURN_EVERY_SECONDS = 60.0
KEYS_EVERY_SECONDS = 10.0


async def run_maintenance(ledger: Ledger, clock: Clock, retention_us: int) -> None:
    """Expire what is due, prune what is old and watch the burn, until cancelled."""
    await asyncio.gather(
        _repeat(
            EXPIRE_EVERY_SECONDS, lambda: ledger.expire(clock()), "holds that are due stay open"
        ),
        _repeat(
            PRUNE_EVERY_SECONDS, lambda: ledger.prune(clock(), retention_us), "old entries stay"
        ),
        _repeat(BURN_EVERY_SECONDS, lambda: _once(ledger.burn(clock())), "spending is not watched"),
    )


async def maintain_keys(ledger: KeyLedger, authorizer: Authorizer, clock: Clock) -> int:
    """Learn which versions are revoked, and count which keys are used; return how many calls.

    Tell of old ones that should not be. Much may have changed meanwhile: the registry by a
    reload, the versions by a rotation.
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
    """Look after keys until cancelled."""

    async def look() -> int:
        # While calls come there is always one more: only a backlog is worked off at once.
        counted = await maintain_keys(ledger, authorizer, clock)
        return counted if counted >= MAX_USES_PER_TRANSACTION else 0

    await _repeat(KEYS_EVERY_SECONDS, look, "the use of keys is not counted")


async def _repeat(every_seconds: float, work: Callable[[], Awaitable[int]], meanwhile: str) -> None:
    """Do the work until it finds nothing more, again and again."""
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
