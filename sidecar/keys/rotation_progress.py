"""The progress of a rotation: its stages and notes, in the ledger and for the watcher."""

import asyncio

from sidecar.domain.clock import SECOND_US, Clock
from sidecar.domain.rotation import NO_WAY_BACK, KeyRotation, Stage, Version
from sidecar.keys.settings import Watcher, in_thread
from sidecar.ledger.key_store import KeyStore


class RotationProgress:
    """Records each stage before the next begins, and reports it to the watcher."""

    def __init__(self, key_store: KeyStore, watcher: Watcher, clock: Clock) -> None:
        """The clock's time is that of the ledger."""
        self._key_store = key_store
        self._clock = clock
        self._watcher = watcher

    def versions(self, rotation: KeyRotation) -> tuple[Version, Version | None]:
        """Return the new version and the old one."""
        found = {one.version: one for one in self._key_store.versions(rotation.key_id)}
        return found[rotation.to_version], found.get(rotation.from_version)

    async def enter(
        self, rotation: KeyRotation, stage: Stage, note: str = "", nonce: str = ""
    ) -> KeyRotation:
        """Enter a stage; `nonce` is for the name of a new key."""
        following = await in_thread(self._key_store.advance, rotation, stage, note, nonce)
        self._watcher.reached(following, note)
        return following

    async def note_once(self, rotation: KeyRotation, text: str) -> None:
        """Add a note, unless it is the last one already."""
        if (await in_thread(self._key_store.steps, rotation.id))[-1].note != text:
            await in_thread(self._key_store.note, rotation.id, text)

    async def has_way_back(self, rotation: KeyRotation) -> bool:
        """Whether the sink had the old secret when the new one was stored."""
        steps = await in_thread(self._key_store.steps, rotation.id)
        return all((it.version, it.note) != (rotation.to_version, NO_WAY_BACK) for it in steps)

    async def pause(self, rotation: KeyRotation, why: str, until_us: int) -> None:
        """Wait until a time, and report what for."""
        while (left_us := until_us - self._clock()) > 0:
            self._watcher.waits(rotation, why, until_us)
            await asyncio.sleep(min(1.0, left_us / SECOND_US))
