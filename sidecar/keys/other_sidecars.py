"""What a rotation asks of the other sidecars that use a key."""

from collections.abc import Sequence
from typing import NamedTuple, Protocol

from sidecar.domain.rotation import Version
from sidecar.domain.windows import FOREVER_US


class OtherUses(NamedTuple):
    """The use of the two versions of a rotation at other sidecars."""

    new_first_us: int | None = None
    old_last_us: int | None = None
    known_us: int = FOREVER_US
    """For how long it has been known."""
    silent: Sequence[str] = ()
    """Sidecars that may have used a version and have not reported it."""


class OtherSidecars(Protocol):
    """The sidecars that have ledgers of their own, and use the same keys."""

    async def claim(self, key_id: str, owner: str, lease_us: int) -> None:
        """Claim the rotation of a key for some time, or renew the claim.

        Raises LeaseHeldError if another has it, UsesUnknownError if nobody can be asked.
        """

    async def release(self, key_id: str, owner: str) -> None:
        """End the claim; if that fails, it lapses."""

    async def uses(self, new: Version, old: Version, within_us: int) -> OtherUses:
        """Return the use of both versions, and who has been silent, not longer than some time.

        Raises UsesUnknownError.
        """


class NoOtherSidecars(OtherSidecars):
    """A ledger in no fleet: what is known of a key is in it."""

    async def claim(self, key_id: str, owner: str, lease_us: int) -> None:
        """See OtherSidecars.claim."""

    async def release(self, key_id: str, owner: str) -> None:
        """See OtherSidecars.release."""

    async def uses(self, new: Version, old: Version, within_us: int) -> OtherUses:
        """See OtherSidecars.uses."""
        del new, old, within_us
        return OtherUses()
