"""The rotator: begins, continues and rolls back rotations, each under a lease."""

import asyncio
import os
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path

from sidecar.domain.clock import SECOND_US, Clock
from sidecar.domain.rotation import KeyRotation, Survey, Version, version_in
from sidecar.keys.mistral import Mistral, MistralError
from sidecar.keys.other_sidecars import NoOtherSidecars, OtherSidecars
from sidecar.keys.pepper import Pepper
from sidecar.keys.recovery import Recovery
from sidecar.keys.remote_keys import RemoteKeys
from sidecar.keys.rotation import Rotation
from sidecar.keys.rotation_progress import RotationProgress
from sidecar.keys.settings import (
    NewKeySpec,
    RotationError,
    Timings,
    UsesUnknownError,
    Watcher,
    in_thread,
)
from sidecar.keys.sinks.sink import Sink
from sidecar.keys.stored_secret import StoredSecret
from sidecar.ledger.key_store import KeyStore
from sidecar.ledger.protocol import LedgerUnavailableError


@dataclass(frozen=True, slots=True)
class Rotator:
    """Rotates keys of one organization. Belongs to the running event loop.

    Its methods raise RotationError, LedgerUnavailableError, and LeaseHeldError when another
    process has the rotation's lease, or its claim in a fleet.
    """

    key_store: KeyStore
    mistral: Mistral
    sink: Sink
    pepper: Pepper
    clock: Clock
    watcher: Watcher
    timings: Timings = Timings()  # noqa: RUF009 - frozen
    spec: NewKeySpec = NewKeySpec()  # noqa: RUF009 - frozen
    others: OtherSidecars = field(default_factory=NoOtherSidecars)

    async def survey(self, key_id: str) -> Survey:
        """Return which versions of a key Mistral lists; change nothing."""
        try:
            return await RemoteKeys(self.key_store, self.mistral, self.clock, self.timings).survey(
                key_id
            )
        except MistralError as error:
            raise RotationError(str(error)) from None

    async def create(self, key_id: str) -> KeyRotation:
        """Create a key that Mistral does not have yet, or continue an interrupted creation."""
        if (begun := await in_thread(self.key_store.unfinished, key_id)) is not None:
            if begun.from_version:
                raise RotationError(f"{key_id} already exists, and is being rotated")
            return await self.resume(begun)
        found = await self.survey(key_id)
        if found.active or found.foreign:
            raise RotationError(f"{key_id} already exists at Mistral: rotate it")
        return await self._run(await self._begin(key_id))

    async def rotate(
        self,
        key_id: str,
        *,
        waits: bool = True,
        force: bool = False,
        of: Version | None = None,
    ) -> KeyRotation:
        """Rotate a key, or continue its unfinished rotation.

        With `of`, only if that is still the active version, as another may have rotated it.
        """
        if (begun := await in_thread(self.key_store.unfinished, key_id)) is not None:
            return await self.resume(begun, waits=waits, force=force)
        found = await self.survey(key_id)
        if found.doubt or found.active is None:
            hint = "" if found.active or found.foreign else ": `sidecar keys create` makes one"
            raise RotationError(found.doubt + hint)
        if found.adopt:
            await self.adopt(key_id, found)
        return await self._run(await self._begin(key_id, of), waits=waits, force=force)

    async def adopt(self, key_id: str, found: Survey) -> None:
        """Record a key that Mistral lists and that is not in this ledger."""
        active = found.active
        assert active is not None, "only a listed key is adopted"
        number = version_in(active.name, key_id) or 1
        made_us = active.created_at_us
        await in_thread(self.key_store.adopt, key_id, number, active.name, active.id, made_us)

    async def roll_back(self, key_id: str, *, stored_too: bool) -> KeyRotation:
        """Return to the old key; without `stored_too`, only if no app can have the new one."""
        begun = await in_thread(self.key_store.unfinished, key_id)
        if begun is None:
            raise RotationError(f"{key_id}: no rotation is under way")
        await self._claim(key_id)
        begun = await in_thread(self.key_store.take_over, begun.id)
        recovery, run = self._recovery(), self._rotation().run
        return await self._leased(
            begun, lambda: _then(recovery.roll_back(begun, stored_too=stored_too), run)
        )

    async def _begin(self, key_id: str, of: Version | None = None) -> KeyRotation:
        await self._claim(key_id)
        rotation = await in_thread(self.key_store.begin, key_id, os.urandom(6).hex(), of)
        self.watcher.reached(rotation, "")
        return rotation

    async def resume(
        self, begun: KeyRotation, *, waits: bool = True, force: bool = False
    ) -> KeyRotation:
        """Continue an unfinished rotation."""
        await self._claim(begun.key_id)
        begun = await in_thread(self.key_store.take_over, begun.id)
        self.watcher.reached(begun, "found unfinished")
        recovery, run = self._recovery(), self._rotation(waits=waits, force=force).run
        return await self._leased(begun, lambda: _then(recovery.recover(begun), run))

    async def _run(
        self, begun: KeyRotation, *, waits: bool = True, force: bool = False
    ) -> KeyRotation:
        """Run a rotation that has just begun, under its lease."""
        rotation = self._rotation(waits=waits, force=force)
        return await self._leased(begun, lambda: rotation.run(begun))

    def _rotation(self, *, waits: bool = True, force: bool = False) -> Rotation:
        return Rotation(
            self.key_store, self.mistral, self.sink, self.pepper, self.clock, self.watcher,
            self.timings, self.spec, self.others, waits=waits, force=force,
        )  # fmt: skip

    def _recovery(self) -> Recovery:
        consistency_seconds = self.timings.consistency_seconds
        return Recovery(
            StoredSecret(self.sink, self.pepper, self.key_store, consistency_seconds),
            RotationProgress(self.key_store, self.watcher, self.clock),
        )

    async def _leased(
        self, rotation: KeyRotation, work: Callable[[], Awaitable[KeyRotation]]
    ) -> KeyRotation:
        """Do the work while renewing the lease, and release that at the end."""
        renewal = asyncio.ensure_future(self._renew_lease(rotation))
        task = asyncio.ensure_future(work())
        try:
            await asyncio.wait({renewal, task}, return_when=asyncio.FIRST_COMPLETED)
            return task.result() if task.done() else renewal.result()
        finally:
            for one in (task, renewal):
                one.cancel()
            await asyncio.gather(task, renewal, return_exceptions=True)
            await in_thread(self.key_store.release_lease, rotation.id)
            await self.others.release(rotation.key_id, self.key_store.owner)

    async def _claim(self, key_id: str) -> None:
        """Claim the rotation of a key in its fleet, or renew the claim. It lapses as a lease."""
        lease_us = round(self.timings.lease_seconds * SECOND_US)
        await self.others.claim(key_id, self.key_store.owner, lease_us)

    async def _renew_lease(self, rotation: KeyRotation) -> KeyRotation:
        """Renew the lease until cancelled. Raises LeaseHeldError when it is lost."""
        while True:
            await asyncio.sleep(self.timings.lease_seconds / 3)
            try:
                await in_thread(self.key_store.renew, rotation.id)
                await self._claim(rotation.key_id)
            except (
                LedgerUnavailableError,
                UsesUnknownError,
            ):  # the lease lasts for two more attempts
                continue


async def _then(
    first: Awaitable[KeyRotation], then: Callable[[KeyRotation], Awaitable[KeyRotation]]
) -> KeyRotation:
    """Await the first, and pass its result on."""
    return await then(await first)


def other_sidecars(fleet_url_file: Path | None) -> OtherSidecars:
    """Return the sidecars of a fleet, or none. Only a fleet needs its driver."""
    if fleet_url_file is None:
        return NoOtherSidecars()
    from sidecar.keys.fleet_sidecars import FleetSidecars  # noqa: PLC0415

    return FleetSidecars(fleet_url_file)
