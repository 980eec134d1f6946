"""The secret that apps find in the sink, compared with the versions in the ledger."""

import asyncio

from sidecar.domain.rotation import KeyRotation, Version
from sidecar.keys.pepper import OtherPepperError, Pepper
from sidecar.keys.settings import RotationError, in_thread
from sidecar.keys.sinks.sink import Sink, SinkError
from sidecar.ledger.key_store import KeyStore


class StoredSecret:
    """Says which version's secret is in the sink. Secrets are compared by their fingerprints."""

    def __init__(
        self, sink: Sink, pepper: Pepper, key_store: KeyStore, consistency_seconds: float
    ) -> None:
        """A sink may take `consistency_seconds` to show what was stored."""
        self._sink = sink
        self._pepper = pepper
        self._key_store = key_store
        self._consistency_seconds = consistency_seconds

    async def is_of(self, version: Version) -> bool:
        """Whether apps find the secret of this version now.

        Raises SinkError, or RotationError if another pepper made the version's fingerprint.
        """
        digest = await self._sink.holds()
        try:
            return self._pepper.is_of(version.fingerprint, digest)
        except OtherPepperError:
            raise _other_pepper(version) from None

    async def becomes(self, version: Version) -> bool:
        """Whether apps find its secret, now or soon. Raises RotationError if that is unknown."""
        for seconds in (0.0, self._consistency_seconds):
            await asyncio.sleep(seconds)
            try:
                stored = await self.is_of(version)
            except SinkError as error:
                raise RotationError(
                    f"{error}; whether apps have the new secret is not known"
                ) from None
            if stored:
                return True
        return False

    async def identify(self, old: Version, digest: str) -> bool:
        """Whether the secret with this digest ("" for none) is the one of the old version.

        If so, this records its fingerprint with the current pepper.
        """
        if self._pepper.can_compare(old.fingerprint):
            is_held = self._pepper.is_of(old.fingerprint, digest)
        else:
            is_held = bool(digest)  # not known, but apps use it
        if is_held and not self._pepper.has_made(old.fingerprint):
            fingerprint = self._pepper.fingerprint(digest)
            await in_thread(self._key_store.identify, old, "", fingerprint, None)
        return is_held

    async def check(self, new: Version) -> None:
        """Raise RotationError if the sink does not have the new secret, where that is known."""
        if not self._pepper.can_compare(new.fingerprint):
            return
        try:
            found = await self.is_of(new)
        except SinkError as error:
            raise RotationError(str(error)) from None
        if not found:
            raise RotationError(
                f"the sink does not have the secret of {new}, so the old key is not revoked:"
                " `sidecar keys rollback`, or --force"
            )

    def check_comparable(self, version: Version) -> None:
        """Raise RotationError if another pepper made the version's fingerprint."""
        if not self._pepper.can_compare(version.fingerprint):
            raise _other_pepper(version)

    async def forget_previous(self, rotation: KeyRotation) -> None:
        """Remove what the sink keeps of the secret before this one; a failure is a note."""
        try:
            await self._sink.forget()
        except SinkError as error:  # harmless: the secret left in the sink is revoked
            await in_thread(self._key_store.note, rotation.id, str(error))


def _other_pepper(version: Version) -> RotationError:
    return RotationError(
        f"the fingerprint of {version} was made with another pepper, so it is unknown whether"
        " apps have its secret: run this with that pepper (--key-pepper-file)"
    )
