"""Recovery: the stage that an unfinished rotation continues from, after a crash or by hand."""

from sidecar.domain.rotation import NO_WAY_BACK, KeyRotation, Stage
from sidecar.keys.rotation_progress import RotationProgress
from sidecar.keys.settings import RotationError
from sidecar.keys.stored_secret import StoredSecret


class Recovery:
    """Enters the stage that a rotation's `run` is to continue from."""

    def __init__(self, stored: StoredSecret, progress: RotationProgress) -> None:
        """Decide by what apps find."""
        self._stored = stored
        self._progress = progress

    async def recover(self, rotation: KeyRotation) -> KeyRotation:
        """Enter LOST if a crash has lost the new secret; return the rotation for `run`."""
        lost = "its secret was in the memory of a process that has ended"
        match rotation.stage:
            case Stage.CREATING | Stage.CREATED | Stage.VERIFIED:
                return await self._progress.enter(rotation, Stage.LOST, lost)
            case Stage.STORING:
                new, _ = self._progress.versions(rotation)
                if await self._stored.becomes(new):
                    return await self._progress.enter(
                        rotation, Stage.STORED, "it was stored nevertheless"
                    )
                return await self._progress.enter(rotation, Stage.LOST, lost)
        return rotation

    async def roll_back(self, rotation: KeyRotation, *, stored_too: bool) -> KeyRotation:
        """Enter RESTORING or DISCARDING, for `run` to continue from.

        Raises RotationError when the stage does not allow it, or when apps may have the new
        secret and `stored_too` is False.
        """
        stage, why = rotation.stage, "rolled back by hand"
        if stage in (Stage.RESTORING, Stage.DISCARDING):
            return rotation
        if stage is Stage.REVOKING:
            raise RotationError("the old key may already be revoked: rotate the key again")
        new, _ = self._progress.versions(rotation)
        if stage is Stage.STORING and not await self._stored.becomes(new):
            return await self._progress.enter(rotation, Stage.DISCARDING, why)
        if stage in (Stage.STORING, Stage.STORED, Stage.SWITCHED):
            if not stored_too:
                raise RotationError("apps may have the new secret: `sidecar keys rollback` it")
            await self._check_can_restore(rotation)
            return await self._progress.enter(rotation, Stage.RESTORING, why)
        return await self._progress.enter(rotation, Stage.DISCARDING, why)

    async def _check_can_restore(self, rotation: KeyRotation) -> None:
        """Raise RotationError if the sink cannot restore the old secret: RESTORING is final."""
        _, old = self._progress.versions(rotation)
        if old is None:
            raise RotationError("there is no older version to go back to")
        if not await self._progress.has_way_back(rotation):
            raise RotationError(f"{NO_WAY_BACK}: `sidecar keys rotate` goes on")
        self._stored.check_comparable(old)
