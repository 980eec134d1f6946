"""The schedule: rotates keys at a set age, in a sidecar that serves.

Of sidecars that share a ledger file, one has the lease of a key's rotation. Sidecars with
separate ledgers see each other's keys at Mistral: while one rotates a key, the others wait,
and then adopt the new key.
"""

import asyncio
import logging
import os
import random
import socket
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from sidecar.domain.clock import SECOND_US, Clock
from sidecar.domain.flag_errors import naming
from sidecar.domain.rotation import KeyRotation, Version, VersionState, due_at_us
from sidecar.keys.mistral import Mistral
from sidecar.keys.other_sidecars import OtherSidecars
from sidecar.keys.pepper import read_pepper
from sidecar.keys.rotator import Rotator
from sidecar.keys.secret import read_secret
from sidecar.keys.settings import RotationError, ScheduleSettings, StillInUseError, in_thread
from sidecar.keys.sinks.factory import open_sink
from sidecar.ledger.key_store import KeyStore, LeaseHeldError, RotationRefusedError
from sidecar.ledger.protocol import LedgerRefusedError, LedgerUnavailableError

log = logging.getLogger(__name__)

POLLS_PER_CHECK = 12
"""The time between two checks of all keys, in units of `Timings.poll_interval_seconds`."""

RETRY_US = 3600 * SECOND_US
"""When a key that failed, or needs a person, is tried and logged again."""

DAY_US = 86_400 * SECOND_US
SPREAD_STEPS = 1000
"""Each key rotates at one of so many times before its period ends: see `due_at_us`."""


class Schedule:
    """The scheduled rotation of an organization's keys."""

    def __init__(
        self,
        settings: ScheduleSettings,
        ledger: Path,
        keys: Callable[[], Sequence[str]],
        clock: Clock,
        others: OtherSidecars,
    ) -> None:
        """Rotate these keys by the wall clock. Raises ValueError, which names the flag."""
        self._others = others
        self._settings = settings
        self._keys = keys
        self._clock = clock
        self._retry_at_us: dict[str, int] = {}
        self._spreads: dict[str, int] = {}
        self._admin_key_file, pepper_file = settings.files()
        with naming("--mistral-admin-key-file"):
            read_secret(self._admin_key_file)
        with naming("--key-pepper-file"):
            self._pepper = read_pepper(pepper_file)
        owner = f"{socket.gethostname()}/{os.getpid()}"
        lease_us = round(settings.timings.lease_seconds * SECOND_US)
        self._key_store = KeyStore(ledger, clock, owner, lease_us)

    async def run(self) -> None:
        """Check all keys at intervals, until cancelled."""
        every_seconds = POLLS_PER_CHECK * self._settings.timings.poll_interval_seconds
        try:
            while True:
                # With jitter, so that sidecars started together do not act together.
                await asyncio.sleep(every_seconds * random.uniform(0.5, 1.5))  # noqa: S311
                await self.check()
        finally:
            self._key_store.close()

    async def check(self) -> None:
        """Rotate the keys that are due now."""
        for key_id in self._keys():
            if self._clock() >= self._retry_at_us.get(key_id, 0):
                await self._check(key_id)

    async def _check(self, key_id: str) -> None:
        """Rotate a key if it is due; log an error, and retry after RETRY_US."""
        try:
            if (begun := await in_thread(self._key_store.unfinished, key_id)) is not None:
                async with self._rotator(key_id) as rotator:
                    await rotator.resume(begun, waits=False)
            elif (old := await self._due(key_id)) is not None:
                async with self._rotator(key_id) as rotator:
                    await rotator.rotate(key_id, waits=False, of=old)
        except LeaseHeldError as error:
            log.info("%s", error)
        except StillInUseError as error:
            self._log_and_delay(key_id, str(error))
        except (RotationError, RotationRefusedError, ValueError) as error:
            self._log_and_delay(key_id, f"{key_id} is not rotated: {error}")
        except (LedgerUnavailableError, LedgerRefusedError) as error:
            self._log_and_delay(key_id, f"{key_id} is not rotated: the ledger: {error}")
        except Exception as error:  # a bug; its text may contain anything
            self._log_and_delay(key_id, f"{key_id} is not rotated: failed: {type(error).__name__}")

    def _log_and_delay(self, key_id: str, text: str) -> None:
        log.warning("%s", text)
        self._retry_at_us[key_id] = self._clock() + RETRY_US

    async def _due(self, key_id: str) -> Version | None:
        """Return the active version if it is old enough to be replaced."""
        active = await self._active(key_id)
        if active is not None and not self._is_old(active):
            return None
        async with self._rotator(key_id) as rotator:
            found = await rotator.survey(key_id)
            if found.doubt:
                raise RotationError(found.doubt)
            if found.adopt:  # a sidecar with another ledger has rotated it
                await rotator.adopt(key_id, found)
        active = await self._active(key_id)
        return active if active is not None and self._is_old(active) else None

    def _is_old(self, active: Version) -> bool:
        spread = self._spreads.setdefault(active.key_id, random.randrange(SPREAD_STEPS))  # noqa: S311
        since_us = active.created_at_us or active.activated_at_us or 0
        return self._clock() >= due_at_us(since_us, self._settings.every_days * DAY_US, spread)

    async def _active(self, key_id: str) -> Version | None:
        versions = await in_thread(self._key_store.versions, key_id)
        return next((one for one in versions if one.state is VersionState.ACTIVE), None)

    @asynccontextmanager
    async def _rotator(self, key_id: str) -> AsyncIterator[Rotator]:
        settings = self._settings
        with naming("--mistral-admin-key-file"):
            admin_key = read_secret(self._admin_key_file)  # each time: it is rotated, too
        with naming("--key-sink"):
            sink = open_sink(settings.sink, key_id, settings.kubernetes)
        client = Mistral(settings.mistral, admin_key)
        try:
            yield Rotator(
                self._key_store, client, sink, self._pepper, self._clock, self, settings.timings,
                others=self._others,
            )  # fmt: skip
        finally:
            await client.close()
            await sink.close()

    def reached(self, rotation: KeyRotation, note: str) -> None:
        """See Watcher.reached."""
        why = f": {note}" if note else ""
        log.info("key %s#%d %s%s", rotation.key_id, rotation.to_version, rotation.stage, why)

    def waits(self, rotation: KeyRotation, why: str, until_us: int | None) -> None:
        """See Watcher.waits: not logged, as the stages are."""
