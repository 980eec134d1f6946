"""The keys at Mistral, compared with the versions in the ledger."""

import asyncio
from collections.abc import Iterable

from sidecar.domain.clock import Clock
from sidecar.domain.rotation import (
    KeyRotation,
    Listed,
    Survey,
    Version,
    survey,
    version_in,
)
from sidecar.keys.api_variants import NewKey, RemoteKey
from sidecar.keys.mistral import Mistral
from sidecar.keys.settings import NewKeySpec, Timings, in_thread
from sidecar.ledger.key_store import KeyStore


class RemoteKeys:
    """The keys at Mistral, for a rotation. All methods raise MistralError."""

    def __init__(
        self, key_store: KeyStore, mistral: Mistral, clock: Clock, timings: Timings
    ) -> None:
        """Compare Mistral's list with the key store."""
        self._key_store = key_store
        self._mistral = mistral
        self._clock = clock
        self._timings = timings

    async def survey(self, key_id: str) -> Survey:
        """Return which versions of a key Mistral lists."""
        listed = await self._mistral.keys()
        known = await in_thread(self._key_store.versions, key_id)
        return survey(key_id, known, map(_listed, listed))

    async def new_key(self, old: Version | None, new: Version, spec: NewKeySpec) -> NewKey:
        """Return the fields of a new version: from the spec, else as the old version has them."""
        model = RemoteKey("", "")
        if old is not None:
            model = await self._find(old.remote_id) or model
        life_us = (model.expires_at_us or 0) - (model.created_at_us or 0)
        limited = model.expires_at_us is not None and model.created_at_us is not None
        return NewKey(
            name=new.name,
            workspace=spec.workspace or model.workspace,
            user=spec.user or model.user,
            description=spec.description or model.description,
            expires_at_us=self._clock() + life_us if limited else None,
        )

    async def is_listed(self, version: Version) -> bool:
        """Whether Mistral lists a version; waits `consistency_seconds` for a new one."""
        ends = asyncio.get_running_loop().time() + self._timings.consistency_seconds
        while await self._find(version.remote_id) is None:
            if asyncio.get_running_loop().time() >= ends:
                return False
            await asyncio.sleep(self._timings.poll_interval_seconds)
        return True

    async def rival(self, new: Version) -> str:
        """Return the name of a version that another sidecar created before this one, or "".

        When two sidecars create one at once, both see it, and the later one gives up.
        """
        listed = await self._mistral.keys()
        known = {one.name for one in await in_thread(self._key_store.versions, new.key_id)}
        made = [one for one in listed if version_in(one.name, new.key_id) is not None]
        ours = (new.created_at_us or 0, new.name)
        earlier = [
            one.name
            for one in made
            if one.name not in known and (one.created_at_us or 0, one.name) < ours
        ]
        return min(earlier, default="")

    async def record_uses(self, new: Version, old: Version, since_us: int) -> None:
        """Record the last uses that Mistral reports; of the new key only those since a time."""
        for one in await self._mistral.keys():
            used_us = one.last_used_at_us
            if used_us is not None and one.id == old.remote_id:
                await in_thread(self._key_store.record_use, old, used_us, first=False)
            elif used_us is not None and one.id == new.remote_id and used_us > since_us:
                await in_thread(self._key_store.record_use, new, used_us, first=True)

    async def revoke_unknown(self, version: Version, rotation: KeyRotation) -> None:
        """Revoke a key that may exist, by its id, or by its name if its id is unknown."""
        if version.remote_id:
            await self._mistral.revoke(version.remote_id)
            return
        ends = asyncio.get_running_loop().time() + self._timings.consistency_seconds
        while True:
            listed = await self._mistral.keys()
            found = [_listed(one) for one in listed if one.name == version.name]
            if found:
                await self._revoke_all(found, rotation)
                return
            if asyncio.get_running_loop().time() >= ends:
                note = f"no key named {version.name} was seen at Mistral"
                await in_thread(self._key_store.note, rotation.id, note)
                return
            await asyncio.sleep(self._timings.poll_interval_seconds)

    async def sweep(self, key_id: str, rotation: KeyRotation) -> None:
        """Revoke keys that earlier runs gave up, and that Mistral did not list then."""
        await self._revoke_all((await self.survey(key_id)).orphans, rotation)

    async def _revoke_all(self, keys: Iterable[Listed], rotation: KeyRotation) -> None:
        for one in keys:
            await self._mistral.revoke(one.id)
            note = f"revoked {one.name}, {one.id}: its secret is lost"
            await in_thread(self._key_store.note, rotation.id, note)

    async def _find(self, remote_id: str) -> RemoteKey | None:
        return next((one for one in await self._mistral.keys() if one.id == remote_id), None)


def _listed(key: RemoteKey) -> Listed:
    return Listed(key.id, key.name, key.created_at_us)
