"""The rotation of one key, stage by stage.

A new key is created at Mistral and tested. Then its secret is stored where apps find it, and
it becomes the active version. The old key is revoked when the new one has been in use for the
grace period. Every stage is on disk before the next begins, so after a crash another process
knows what may have happened, and continues or rolls back. If the secret is lost before it is
stored, its key is revoked and another created. `domain/rotation.py` has the stages and their order,
`rotation_progress.py` writes them to the ledger, `rotator.py` begins and continues rotations.

K1: at every moment apps find a secret that works. K2: at the end one key is left at Mistral,
and it is in the ledger. K3: a secret is in memory and in the sink, nowhere else; its
fingerprint in the ledger is useless without the pepper.
"""

import asyncio
import os
from collections.abc import Awaitable, Callable
from typing import ClassVar

from sidecar.domain.clock import SECOND_US, Clock
from sidecar.domain.rotation import (
    LEFT_FOR_LATER,
    NO_WAY_BACK,
    STILL_IN_USE,
    GraceVerdict,
    KeyRotation,
    Stage,
    Version,
)
from sidecar.keys.grace_period import GracePeriod
from sidecar.keys.mistral import Mistral, MistralError, OutcomeUnknownError
from sidecar.keys.other_sidecars import OtherSidecars
from sidecar.keys.pepper import Pepper
from sidecar.keys.remote_keys import RemoteKeys
from sidecar.keys.rotation_progress import RotationProgress
from sidecar.keys.secret import Secret
from sidecar.keys.settings import (
    NewKeySpec,
    RotationError,
    StillInUseError,
    Timings,
    UsesUnknownError,
    Watcher,
    in_thread,
)
from sidecar.keys.sinks.sink import Sink, SinkError
from sidecar.keys.stored_secret import StoredSecret
from sidecar.ledger.key_store import KeyStore

SUCCESSES = 3
"""Successful tests in a row that a new secret needs, as not all servers know it at once."""

MAX_CREATIONS = 3
"""Keys that one run creates before it gives up."""


class Rotation:
    """One run of one rotation, by the owner of its lease."""

    _secret: Secret | None = None  # of the new key, until it is stored
    _created = 0
    _failure = ""

    def __init__(
        self,
        key_store: KeyStore,
        mistral: Mistral,
        sink: Sink,
        pepper: Pepper,
        clock: Clock,
        watcher: Watcher,
        timings: Timings,
        spec: NewKeySpec,
        others: OtherSidecars,
        *,
        waits: bool = True,
        force: bool = False,
    ) -> None:
        """With `waits`, a run lasts until the old key is revoked; `force` revokes it at once."""
        self._key_store, self._mistral, self._sink, self._pepper = key_store, mistral, sink, pepper
        self._clock, self._timings, self._spec = clock, timings, spec
        self._remote = RemoteKeys(key_store, mistral, clock, timings)
        self._stored = StoredSecret(sink, pepper, key_store, timings.consistency_seconds)
        self._progress = RotationProgress(key_store, watcher, clock)
        self._grace = GracePeriod(key_store, self._remote, others, clock, timings)
        self._watcher, self._waits, self._force = watcher, waits, force

    async def run(self, rotation: KeyRotation) -> KeyRotation:
        """Run the stages until the end, or without `waits` until one would have to wait.

        Raises RotationError when it cannot continue, or had to discard the new key;
        StillInUseError when the old key should be revoked and is in use.
        """
        while not rotation.stage.ended:
            following = await self._STEPS[rotation.stage](self, rotation)
            if following is rotation:  # it would have to wait
                return rotation
            rotation = following
        if self._failure:
            raise RotationError(self._failure)
        return rotation

    async def create(self, rotation: KeyRotation) -> KeyRotation:
        """CREATING: create a key like the old one at Mistral, without retries."""
        new, old = self._progress.versions(rotation)
        try:
            new_key = await self._remote.new_key(old, new, self._spec)
            self._created += 1
            created = await self._mistral.create(new_key)
        except OutcomeUnknownError as error:
            return await self._progress.enter(rotation, Stage.LOST, str(error))
        except (MistralError, ValueError) as error:  # there is no new key
            self._failure = str(error)
            return await self._progress.enter(rotation, Stage.ROLLED_BACK, str(error))
        self._secret = created.secret
        key, fingerprint = created.key, self._pepper.fingerprint(created.secret.digest)
        at_us = key.created_at_us or self._clock()
        await in_thread(self._key_store.identify, new, key.id, fingerprint, at_us)
        return await self._progress.enter(
            rotation, Stage.CREATED, f"{key.name or new.name}, {key.id}"
        )

    async def verify(self, rotation: KeyRotation) -> KeyRotation:
        """CREATED: test that the new key works, and that no other sidecar has made one."""
        assert self._secret is not None, "a lost secret leads to LOST"
        ends = asyncio.get_running_loop().time() + self._timings.verify_seconds
        successes = 0
        while successes < SUCCESSES:
            why = "Mistral does not accept the new key"
            try:
                works = await self._mistral.works(self._secret)
            except MistralError as error:
                works, why = False, str(error)
            successes = successes + 1 if works else 0
            if not works:
                if asyncio.get_running_loop().time() > ends:
                    return await self._give_up(rotation, why)
                await asyncio.sleep(self._timings.poll_interval_seconds)
        new, _ = self._progress.versions(rotation)
        try:
            rival = await self._remote.rival(new)
        except MistralError as error:
            return await self._give_up(rotation, str(error))
        if rival:
            return await self._give_up(rotation, f"{rival} was made by another sidecar just now")
        return await self._progress.enter(rotation, Stage.VERIFIED)

    async def store(self, rotation: KeyRotation) -> KeyRotation:
        """VERIFIED: store the secret in the sink, and check that it is there."""
        assert self._secret is not None, "a lost secret leads to LOST"
        new, old = self._progress.versions(rotation)
        try:
            held = await self._sink.holds()
        except SinkError as error:
            return await self._give_up(rotation, str(error))
        note = "" if old is None or await self._stored.identify(old, held) else NO_WAY_BACK
        rotation = await self._progress.enter(rotation, Stage.STORING, note)
        why = "the sink does not have the secret that was stored"
        try:
            await self._sink.store(new.key_id, new.version, self._secret)
        except SinkError as error:
            why = str(error)
        if not await self._stored.becomes(new):
            return await self._give_up(rotation, why)
        self._secret = None
        return await self._progress.enter(rotation, Stage.STORED)

    async def switch(self, rotation: KeyRotation) -> KeyRotation:
        """STORED: give apps time to find the secret; then make its version the active one."""
        if rotation.from_version:
            until_us = rotation.stage_at_us + _us(self._timings.propagation_seconds)
            if not self._waits and self._clock() < until_us:
                await self._progress.note_once(rotation, LEFT_FOR_LATER)
                return rotation
            await self._progress.pause(rotation, "apps find the new secret", until_us)
        return await self._progress.enter(rotation, Stage.SWITCHED)

    async def end_grace(self, rotation: KeyRotation) -> KeyRotation:
        """SWITCHED: wait until the grace period ends, so that the old key can be revoked."""
        new, old = self._progress.versions(rotation)
        if old is None:
            return await self._progress.enter(rotation, Stage.DONE)
        while True:
            verdict, until_us = await self._verdict(rotation, new, old)
            if verdict is GraceVerdict.REVOKE or self._force:
                await self._check_exists(new)
                if not self._force:
                    await self._stored.check(new)
                why = (
                    ""
                    if verdict is GraceVerdict.REVOKE
                    else f"by force: the old key is to {verdict}"
                )
                return await self._progress.enter(rotation, Stage.REVOKING, why)
            if verdict is GraceVerdict.IN_USE:
                await self._progress.note_once(rotation, STILL_IN_USE)
                raise StillInUseError(str(old), str(new))
            if not self._waits:
                return rotation
            self._watcher.waits(rotation, f"{old} is in its grace period", until_us)
            left = (until_us - self._clock()) / SECOND_US
            await asyncio.sleep(max(0.0, min(self._timings.poll_interval_seconds, left)))

    async def revoke(self, rotation: KeyRotation) -> KeyRotation:
        """REVOKING: revoke the old key, and keys left behind by earlier runs."""
        new, old = self._progress.versions(rotation)
        assert old is not None, "a key's first rotation revokes nothing"
        try:
            await self._check_exists(new)
            await self._mistral.revoke(old.remote_id)
            await self._remote.sweep(new.key_id, rotation)
        except MistralError as error:
            raise RotationError(str(error)) from None
        await self._stored.forget_previous(rotation)
        return await self._progress.enter(rotation, Stage.DONE)

    async def begin_again(self, rotation: KeyRotation) -> KeyRotation:
        """LOST: revoke the key whose secret is lost, and create another."""
        await self._revoke_new(rotation)
        if self._created >= MAX_CREATIONS:
            return await self._give_up(rotation, f"{MAX_CREATIONS} new keys were lost")
        return await self._progress.enter(rotation, Stage.CREATING, nonce=os.urandom(6).hex())

    async def restore(self, rotation: KeyRotation) -> KeyRotation:
        """RESTORING: restore the old secret in the sink, and give apps time to find it."""
        new, old = self._progress.versions(rotation)
        assert old is not None, "a key's first version is not rolled back"
        await self._check_exists(old)
        try:
            if not await self._stored.is_of(old):
                try:
                    await self._sink.restore()
                except SinkError as error:
                    if await self._stored.is_of(new):  # nothing has changed
                        await self._progress.enter(rotation, Stage.STORED, str(error))
                    raise
            if not await self._stored.is_of(old):
                raise RotationError(f"the sink has no secret of {old}: rotate the key again")
        except SinkError as error:
            raise RotationError(str(error)) from None
        until_us = self._clock() + _us(self._timings.propagation_seconds)
        await self._progress.pause(rotation, f"apps go back to {old}", until_us)
        return await self._progress.enter(rotation, Stage.DISCARDING, f"apps find {old}, not {new}")

    async def discard(self, rotation: KeyRotation) -> KeyRotation:
        """DISCARDING: revoke the new key, which apps cannot find any more."""
        await self._revoke_new(rotation)
        await self._stored.forget_previous(rotation)
        return await self._progress.enter(rotation, Stage.ROLLED_BACK)

    _STEPS: ClassVar[dict[Stage, Callable[["Rotation", KeyRotation], Awaitable[KeyRotation]]]] = {
        Stage.CREATING: create,
        Stage.CREATED: verify,
        Stage.VERIFIED: store,
        Stage.STORED: switch,
        Stage.SWITCHED: end_grace,
        Stage.REVOKING: revoke,
        Stage.LOST: begin_again,
        Stage.RESTORING: restore,
        Stage.DISCARDING: discard,
    }

    async def _verdict(
        self, rotation: KeyRotation, new: Version, old: Version
    ) -> tuple[GraceVerdict, int]:
        """Return what to do with the old key, and until when; WAIT while its uses are unknown."""
        try:
            return await self._grace.verdict(rotation, new, old)
        except (MistralError, UsesUnknownError) as error:
            if self._force and isinstance(error, UsesUnknownError):
                return GraceVerdict.WAIT, self._clock()
            if not self._waits:
                raise RotationError(str(error)) from None
            self._watcher.waits(rotation, str(error), None)
            return GraceVerdict.WAIT, self._clock() + _us(self._timings.poll_interval_seconds)

    async def _check_exists(self, version: Version) -> None:
        """Raise RotationError if Mistral does not list a version, so that the other one is kept."""
        try:
            exists = await self._remote.is_listed(version)
        except MistralError as error:
            raise RotationError(str(error)) from None
        if not exists:
            raise RotationError(f"Mistral does not list {version}, so the other key is not revoked")

    async def _revoke_new(self, rotation: KeyRotation) -> None:
        new, _ = self._progress.versions(rotation)
        try:
            await self._remote.revoke_unknown(new, rotation)
        except MistralError as error:
            raise RotationError(str(error)) from None

    async def _give_up(self, rotation: KeyRotation, why: str) -> KeyRotation:
        self._failure, self._secret = why, None
        return await self._progress.enter(rotation, Stage.DISCARDING, why)


def _us(seconds: float) -> int:
    return round(seconds * SECOND_US)
