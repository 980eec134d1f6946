"""The grace period: how long the old key lives beside the new one, by the uses of both."""

from sidecar.domain.clock import SECOND_US, Clock
from sidecar.domain.rotation import GraceVerdict, KeyRotation, Stage, Version
from sidecar.keys.remote_keys import RemoteKeys
from sidecar.keys.settings import Timings, in_thread
from sidecar.ledger.key_store import KeyStore

OWN_USE_US = 60 * SECOND_US
"""A use of the new key within this time after its test counts as the test itself."""


class GracePeriod:
    """The uses of the two keys of a rotation, by Mistral's report and by the decisions."""

    def __init__(
        self, key_store: KeyStore, remote: RemoteKeys, clock: Clock, timings: Timings
    ) -> None:
        """Read uses from the ledger, after recording those that Mistral reports."""
        self._key_store = key_store
        self._remote = remote
        self._clock = clock
        self._timings = timings

    async def verdict(
        self, rotation: KeyRotation, new: Version, old: Version
    ) -> tuple[GraceVerdict, int]:
        """Return what to do with the old key, and until when that holds. Raises MistralError."""
        steps = await in_thread(self._key_store.steps, rotation.id)
        tried_us = max(step.at_us for step in steps if step.stage == Stage.VERIFIED)
        await self._remote.record_uses(new, old, tried_us + OWN_USE_US)
        new_first_us, _ = await in_thread(self._key_store.uses, new)
        _, old_last_us = await in_thread(self._key_store.uses, old)
        return self._timings.grace.verdict(
            self._clock(), rotation.stage_at_us, new_first_us, old_last_us
        )
