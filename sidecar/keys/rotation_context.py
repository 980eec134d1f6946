"""What the stages of a rotation share: key store, Mistral, sink, and checks before revoking."""

import asyncio

from sidecar.domain.clock import SECOND_US, Clock
from sidecar.domain.rotation import NO_WAY_BACK, KeyRotation, Stage, Version
from sidecar.keys.mistral import Mistral, MistralError
from sidecar.keys.pepper import OtherPepperError, Pepper
from sidecar.keys.remote_keys import RemoteKeys
from sidecar.keys.secret import Secret
from sidecar.keys.settings import NewKeySpec, RotationError, Timings, Watcher, in_thread
from sidecar.keys.sinks.sink import Sink, SinkError
from sidecar.ledger.key_store import KeyStore


class RotationContext:
    """Holds what the stages share, such as the new secret, which is only in memory here."""

    _secret: Secret | None = None
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
        *,
        waits: bool = True,
        force: bool = False,
    ) -> None:
        """With `waits`, a run lasts until the old key is revoked; `force` revokes it at once."""
        self._key_store = key_store
        self._mistral = mistral
        self._remote = RemoteKeys(key_store, mistral, clock, timings)
        self._sink = sink
        self._pepper = pepper
        self._clock = clock
        self._watcher = watcher
        self._timings = timings
        self._spec = spec
        self._waits = waits
        self._force = force

    async def _check_exists(self, version: Version) -> None:
        """Raise RotationError unless Mistral lists a version: then the other is not revoked."""
        try:
            exists = await self._remote.is_listed(version)
        except MistralError as error:
            raise RotationError(str(error)) from None
        if not exists:
            raise RotationError(f"Mistral does not list {version}, so the other key is not revoked")

    async def _is_stored(self, rotation: KeyRotation) -> bool:
        """Whether apps find the new secret, now or after `consistency_seconds`."""
        new, _ = self._versions(rotation)
        for seconds in (0.0, self._timings.consistency_seconds):
            await asyncio.sleep(seconds)
            try:
                stored = await self._apps_find(new)
            except SinkError as error:
                raise RotationError(
                    f"{error}; whether apps have the new secret is not known"
                ) from None
            if stored:
                return True
        return False

    async def _apps_find(self, version: Version) -> bool:
        """Whether apps find the secret of this version now. Raises SinkError."""
        digest = await self._sink.holds()
        try:
            return self._pepper.is_of(version.fingerprint, digest)
        except OtherPepperError:
            raise _other_pepper(version) from None

    async def _sink_has_old(self, old: Version, held: str) -> bool:
        """Whether the sink has the old secret; if so, record its fingerprint with this pepper."""
        if self._pepper.can_compare(old.fingerprint):
            is_held = self._pepper.is_of(old.fingerprint, held)
        else:
            is_held = bool(held)  # not known, but apps use it
        if is_held and not self._pepper.has_made(old.fingerprint):
            await in_thread(self._key_store.identify, old, "", self._pepper.fingerprint(held), None)
        return is_held

    async def _check_stored(self, new: Version) -> None:
        """Raise RotationError if the sink does not have the new secret, where that is known."""
        if not self._pepper.can_compare(new.fingerprint):
            return
        try:
            found = await self._apps_find(new)
        except SinkError as error:
            raise RotationError(str(error)) from None
        if not found:
            raise RotationError(
                f"the sink does not have the secret of {new}, so the old key is not revoked:"
                " `sidecar keys rollback`, or --force"
            )

    async def _check_can_restore(self, rotation: KeyRotation) -> None:
        """Raise RotationError if the sink cannot restore the old secret: RESTORING is final."""
        _, old = self._versions(rotation)
        if old is None:
            raise RotationError("there is no older version to go back to")
        for step in await in_thread(self._key_store.steps, rotation.id):
            if (step.version, step.note) == (rotation.to_version, NO_WAY_BACK):
                raise RotationError(f"{NO_WAY_BACK}: `sidecar keys rotate` goes on")
        if not self._pepper.can_compare(old.fingerprint):
            raise _other_pepper(old)

    async def _revoke_new(self, rotation: KeyRotation) -> None:
        new, _ = self._versions(rotation)
        try:
            await self._remote.revoke_unknown(new, rotation)
        except MistralError as error:
            raise RotationError(str(error)) from None

    async def _forget_previous(self, rotation: KeyRotation) -> None:
        try:
            await self._sink.forget()
        except SinkError as error:  # harmless: the secret left in the sink is revoked
            await in_thread(self._key_store.note, rotation.id, str(error))

    async def _note_once(self, rotation: KeyRotation, text: str) -> None:
        if (await in_thread(self._key_store.steps, rotation.id))[-1].note != text:
            await in_thread(self._key_store.note, rotation.id, text)

    async def _give_up(self, rotation: KeyRotation, why: str) -> KeyRotation:
        self._failure, self._secret = why, None
        return await self._to(rotation, Stage.DISCARDING, why)

    async def _to(
        self, rotation: KeyRotation, stage: Stage, note: str = "", nonce: str = ""
    ) -> KeyRotation:
        following = await in_thread(self._key_store.advance, rotation, stage, note, nonce)
        self._watcher.reached(following, note)
        return following

    def _versions(self, rotation: KeyRotation) -> tuple[Version, Version | None]:
        """Return the new version and the old one."""
        found = {one.version: one for one in self._key_store.versions(rotation.key_id)}
        return found[rotation.to_version], found.get(rotation.from_version)

    async def _pause(self, rotation: KeyRotation, why: str, until_us: int) -> None:
        while (left_us := until_us - self._clock()) > 0:
            self._watcher.waits(rotation, why, until_us)
            await asyncio.sleep(min(1.0, left_us / SECOND_US))

    def _us(self, seconds: float) -> int:
        return round(seconds * SECOND_US)

    def _ends(self, seconds: float) -> float:
        return asyncio.get_running_loop().time() + seconds


def _other_pepper(version: Version) -> RotationError:
    return RotationError(
        f"the fingerprint of {version} was made with another pepper, so it is unknown whether"
        " apps have its secret: run this with that pepper (--key-pepper-file)"
    )
