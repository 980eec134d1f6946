"""The other sidecars of a fleet, which report the use of keys to its books."""

import contextlib
import logging
from collections.abc import Iterator
from pathlib import Path

from sidecar.domain.rotation import Version
from sidecar.fleet import rotation
from sidecar.fleet.protocol import FleetRefusedError, FleetUnreachableError
from sidecar.keys.other_sidecars import OtherSidecars, OtherUses
from sidecar.keys.settings import UsesUnknownError
from sidecar.ledger.key_store import LeaseHeldError

log = logging.getLogger(__name__)


class FleetSidecars(OtherSidecars):
    """The sidecars of the fleet whose books a file has the URL of."""

    def __init__(self, url_file: Path) -> None:
        """Connect for each operation: they are rare."""
        self._url_file = url_file

    async def claim(self, key_id: str, owner: str, lease_us: int) -> None:
        """See OtherSidecars.claim."""
        with _understood():
            holder = await rotation.claim(self._url_file, key_id, owner, lease_us)
        if holder != owner:
            raise LeaseHeldError(f"{key_id}: {holder} is rotating it, in the same fleet")

    async def release(self, key_id: str, owner: str) -> None:
        """See OtherSidecars.release."""
        try:
            await rotation.release(self._url_file, key_id, owner)
        except (FleetRefusedError, FleetUnreachableError) as error:
            log.info("the claim of %s's rotation lapses by itself: %s", key_id, error)

    async def uses(self, new: Version, old: Version, within_us: int) -> OtherUses:
        """See OtherSidecars.uses."""
        with _understood():
            found = await rotation.version_uses(
                self._url_file, new.key_id, str(old), str(new), within_us
            )
        silent = [f"{one.name} ({one.uid})" for one in found.silent]
        return OtherUses(found.new_first_us, found.old_last_us, found.known_us, silent)


@contextlib.contextmanager
def _understood() -> Iterator[None]:
    try:
        yield
    except (FleetRefusedError, FleetUnreachableError) as error:
        raise UsesUnknownError(f"the fleet's books cannot be asked: {error}") from None
