"""The grace period: how long the old key lives beside the new one, by the uses of both."""

from collections.abc import Sequence

from sidecar.domain.clock import SECOND_US, Clock
from sidecar.domain.rotation import GraceVerdict, KeyRotation, Stage, Version
from sidecar.keys.other_sidecars import OtherSidecars
from sidecar.keys.remote_keys import RemoteKeys
from sidecar.keys.settings import Timings, UsesUnknownError, in_thread
from sidecar.ledger.key_store import KeyStore

OWN_USE_US = 60 * SECOND_US
"""A use of the new key within this time after its test counts as the test itself."""

REPORTED_US = 120 * SECOND_US
"""Sidecars that are not silent have reported within this time."""

MAX_NAMED = 5
"""Silent sidecars that are named."""


class GracePeriod:
    """The uses of the two keys of a rotation, by Mistral's report and by the decisions."""

    def __init__(
        self,
        key_store: KeyStore,
        remote: RemoteKeys,
        others: OtherSidecars,
        clock: Clock,
        timings: Timings,
    ) -> None:
        """Read uses from the ledger, in which those are that Mistral reports, and from others."""
        self._others = others
        self._key_store = key_store
        self._remote = remote
        self._clock = clock
        self._timings = timings

    async def verdict(
        self, rotation: KeyRotation, new: Version, old: Version
    ) -> tuple[GraceVerdict, int]:
        """Return what to do with the old key, and until when that holds.

        Raises MistralError, and UsesUnknownError if other sidecars may use the old key.
        """
        steps = await in_thread(self._key_store.steps, rotation.id)
        tried_us = max(step.at_us for step in steps if step.stage == Stage.VERIFIED)
        await self._remote.record_uses(new, old, tried_us + OWN_USE_US)
        new_first_us, _ = await in_thread(self._key_store.uses, new)
        _, old_last_us = await in_thread(self._key_store.uses, old)
        grace = self._timings.grace
        reported = await self._others.uses(new, old, grace.at_most_us)
        what, until_us = grace.verdict(
            self._clock(),
            rotation.stage_at_us,
            _first(new_first_us, reported.new_first_us),
            _last(old_last_us, reported.old_last_us),
        )
        if what is not GraceVerdict.REVOKE:
            return what, until_us
        known_enough_us = max(grace.after_first_use_us, REPORTED_US)
        if reported.known_us < known_enough_us:
            return GraceVerdict.WAIT, self._clock() + known_enough_us - reported.known_us
        if reported.silent:
            raise UsesUnknownError(_unknown(old, reported.silent))
        return what, until_us


def _first(one_us: int | None, other_us: int | None) -> int | None:
    return min((us for us in (one_us, other_us) if us is not None), default=None)


def _last(one_us: int | None, other_us: int | None) -> int | None:
    return max((us for us in (one_us, other_us) if us is not None), default=None)


def _unknown(old: Version, silent: Sequence[str]) -> str:
    more = f" and {len(silent) - MAX_NAMED} more" if len(silent) > MAX_NAMED else ""
    return (
        f"{old} is not revoked, since sidecars may use it that have not reported for two minutes:"
        f" {', '.join(silent[:MAX_NAMED])}{more}. Run this again when they have, or sign for those"
        " that are gone with `sidecar fleet forget`; --force revokes it anyway"
    )
