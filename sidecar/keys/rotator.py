"""Who may rotate a key now: the lease, and what is to be found out before anything is done."""

import asyncio
import os
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from sidecar.domain.clock import Clock
from sidecar.domain.rotation import KeyRotation, Survey, Version, version_in
from sidecar.keys.mistral import Mistral, MistralError
from sidecar.keys.pepper import Pepper
from sidecar.keys.remote_keys import RemoteKeys
from sidecar.keys.rotation import Rotation
from sidecar.keys.settings import NewKeySpec, RotationError, Timings, Watcher, in_thread
from sidecar.keys.sinks.sink import Sink
from sidecar.ledger.key_store import KeyStore
from sidecar.ledger.protocol import LedgerUnavailableError


@dataclass(frozen=True, slots=True)
class Rotator:
    """Rotates keys of one organization. Belongs to the running event loop.

    Its methods raise RotationError, LeaseHeldError when somebody else works at the same
    rotation, and LedgerUnavailableError.
    """

    key_store: KeyStore
    mistral: Mistral
    sink: Sink
    pepper: Pepper
    clock: Clock
    watcher: Watcher
    timings: Timings = Timings()  # noqa: RUF009 - frozen
    wanted: NewKeySpec = NewKeySpec()  # noqa: RUF009 - frozen

    async def survey(self, key_id: str) -> Survey:
        """Say what Mistral has of a key, and change nothing."""
        try:
            return await RemoteKeys(self.key_store, self.mistral, self.clock, self.timings).survey(
                key_id
            )
        except MistralError as error:
            raise RotationError(str(error)) from None

    async def create(self, key_id: str) -> KeyRotation:
        """Create a key that Mistral does not have yet, or go on with that."""
        if (there := await in_thread(self.key_store.unfinished, key_id)) is not None:
            if there.from_version:
                raise RotationError(f"{key_id} is there, and is being rotated")
            return await self.go_on(there)
        found = await self.survey(key_id)
        if found.active or found.foreign:
            raise RotationError(f"{key_id} is at Mistral already: rotate it")
        return await self._work(await self._begin(key_id))

    async def rotate(
        self,
        key_id: str,
        *,
        waits: bool = True,
        force: bool = False,
        of: Version | None = None,
    ) -> KeyRotation:
        """Rotate a key, or go on with a rotation that is unfinished.

        With `of`, only if that is still the active version: somebody else may have been faster.
        """
        if (there := await in_thread(self.key_store.unfinished, key_id)) is not None:
            return await self.go_on(there, waits=waits, force=force)
        found = await self.survey(key_id)
        if found.doubt or found.active is None:
            hint = "" if found.active or found.foreign else ": `sidecar keys create` makes one"
            raise RotationError(found.doubt + hint)
        if found.adopt:
            await self.adopt(key_id, found)
        return await self._work(await self._begin(key_id, of), waits=waits, force=force)

    async def adopt(self, key_id: str, found: Survey) -> None:
        """Write down a key that Mistral has, and this ledger has not seen."""
        active = found.active
        assert active is not None, "what is adopted was found"
        number = version_in(active.name, key_id) or 1
        made_us = active.created_at_us
        await in_thread(self.key_store.adopt, key_id, number, active.name, active.id, made_us)

    async def turn_back(self, key_id: str, *, stored_too: bool) -> KeyRotation:
        """Go back to the old key; unless `stored_too`, only while no app can have the new one."""
        there = await in_thread(self.key_store.unfinished, key_id)
        if there is None:
            raise RotationError(f"{key_id}: no rotation is under way")
        there = await in_thread(self.key_store.take_over, there.id)
        rotation = self._rotation()
        return await self._leased(
            there,
            lambda: _then(rotation.turn_back(there, stored_too=stored_too), rotation.run),
        )

    async def _begin(self, key_id: str, of: Version | None = None) -> KeyRotation:
        rotation = await in_thread(self.key_store.begin, key_id, os.urandom(6).hex(), of)
        self.watcher.reached(rotation, "")
        return rotation

    async def go_on(
        self, there: KeyRotation, *, waits: bool = True, force: bool = False
    ) -> KeyRotation:
        """Go on with a rotation that was found unfinished, and with no other."""
        there = await in_thread(self.key_store.take_over, there.id)
        self.watcher.reached(there, "found unfinished")
        rotation = self._rotation(waits=waits, force=force)
        return await self._leased(there, lambda: _then(rotation.recover(there), rotation.run))

    async def _work(
        self, begun: KeyRotation, *, waits: bool = True, force: bool = False
    ) -> KeyRotation:
        rotation = self._rotation(waits=waits, force=force)
        return await self._leased(begun, lambda: rotation.run(begun))

    def _rotation(self, *, waits: bool = True, force: bool = False) -> Rotation:
        return Rotation(
            self.key_store, self.mistral, self.sink, self.pepper, self.clock, self.watcher,
            self.timings, self.wanted, waits=waits, force=force,
        )  # fmt: skip

    async def _leased(
        self, rotation: KeyRotation, work: Callable[[], Awaitable[KeyRotation]]
    ) -> KeyRotation:
        """Do the work while the lease is ours, and let go of it at the end."""
        keeping = asyncio.ensure_future(self._keep_lease(rotation))
        working = asyncio.ensure_future(work())
        try:
            await asyncio.wait({keeping, working}, return_when=asyncio.FIRST_COMPLETED)
            return working.result() if working.done() else keeping.result()
        finally:
            for task in (working, keeping):
                task.cancel()
            await asyncio.gather(working, keeping, return_exceptions=True)
            await in_thread(self.key_store.release_lease, rotation.id)

    async def _keep_lease(self, rotation: KeyRotation) -> KeyRotation:
        """Renew the lease until cancelled. Raises LeaseHeldError when it was lost."""
        while True:
            await asyncio.sleep(self.timings.lease_seconds / 3)
            try:
                await in_thread(self.key_store.renew, rotation.id)
            except LedgerUnavailableError:  # there is time for another try
                continue


async def _then(
    first: Awaitable[KeyRotation], then: Callable[[KeyRotation], Awaitable[KeyRotation]]
) -> KeyRotation:
    return await then(await first)
