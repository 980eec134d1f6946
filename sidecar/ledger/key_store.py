"""The key store: versions of keys and their rotations, by a second writer of the ledger.

`sidecar keys` has to work while a sidecar serves. The second writer is safe because no
process caches these tables: each step reads and writes a few rows in a transaction of its
own, for which the sidecar's own writer waits.
"""

import sqlite3
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from sidecar.domain.clock import Clock
from sidecar.domain.rotation import (
    NEXT,
    KeyRotation,
    RotationStep,
    Stage,
    Version,
    VersionState,
    name_at_mistral,
)
from sidecar.ledger import key_rows, ledger_file, rows
from sidecar.ledger.protocol import LedgerUnavailableError

MAX_LEASE_US = 3600 * 1_000_000
"""A lease that ends later than this was written before the clock was set back: it is void."""


class LeaseHeldError(Exception):
    """Another process has the lease of this rotation; the text says which, and the stage."""


class RotationRefusedError(Exception):
    """The rotation's stage does not allow this; the text says which stage it is in."""


class KeyStore:
    """The versions and rotations of one ledger. Threads may share it."""

    def __init__(self, path: Path, clock: Clock, owner: str, lease_us: int) -> None:
        """Open the ledger as a second writer; take leases of this length as the owner.

        Raises LedgerRefusedError.
        """
        self._sql = ledger_file.open_second_writer(path)
        self._lock = threading.Lock()
        self._clock = clock
        self.owner = owner
        """This process, for people and for leases."""
        self._lease_us = min(lease_us, MAX_LEASE_US)

    def versions(self, key_id: str) -> list[Version]:
        """Return all versions of a key, the oldest first."""
        with self._reading():
            found = self._sql.execute(key_rows.VERSIONS, (key_id,)).fetchall()
        return [key_rows.version(row) for row in found]

    def version(self, key_id: str, number: int) -> Version:
        """Return a version that exists."""
        return next(one for one in self.versions(key_id) if one.version == number)

    def rotations(self, key_id: str = "") -> list[KeyRotation]:
        """Return the rotations of a key, or of all, the oldest first."""
        with self._reading():
            found = self._sql.execute(key_rows.ROTATIONS, (key_id, key_id)).fetchall()
        return [key_rows.rotation(row) for row in found]

    def unfinished(self, key_id: str) -> KeyRotation | None:
        """Return the rotation of a key that has not ended, if any."""
        return next((one for one in self.rotations(key_id) if one.ended_at_us is None), None)

    def steps(self, rotation: int) -> list[RotationStep]:
        """Return the steps of a rotation, in order."""
        with self._reading():
            found = self._sql.execute(key_rows.STEPS, (rotation,)).fetchall()
        return [RotationStep(*row) for row in found]

    def adopt(
        self, key_id: str, number: int, name: str, remote_id: str, created_at_us: int | None
    ) -> Version:
        """Record a key that Mistral lists as the active version, in place of the previous one.

        Raises LeaseHeldError when a rotation of the key is under way.
        """
        with self._writing():
            now_us = self._clock()
            if (current := self._unfinished(key_id)) is not None:
                raise LeaseHeldError(_held(current))
            adopted = self._sql.execute(key_rows.ADOPTED, (key_id, remote_id)).fetchone()
            if adopted:
                return key_rows.version(adopted)
            self._sql.execute(key_rows.RETIRE, (now_us, key_id))
            taken = self._sql.execute(key_rows.LAST_VERSION, (key_id,)).fetchone()[0]
            number = max(number, taken + 1)
            values = (key_id, number, name, remote_id, VersionState.ACTIVE, created_at_us, now_us)
            self._sql.execute(key_rows.ADOPT, values)
        return self.version(key_id, number)

    def begin(self, key_id: str, nonce: str, of: Version | None = None) -> KeyRotation:
        """Begin a rotation of the active version, and take its lease.

        Raises LeaseHeldError when another is under way, and RotationRefusedError when `of` is
        given and is not the active version.
        """
        with self._writing():
            now_us, until_us = self._now_and_lease_end()
            if (current := self._unfinished(key_id)) is not None:
                raise LeaseHeldError(_held(current))
            active = self._sql.execute(key_rows.ACTIVE, (key_id,)).fetchone()
            before = active[0] if active else 0
            if of is not None and of.version != before:
                raise RotationRefusedError(f"{of} is not the active version any more")
            number = self._open_version(key_id, nonce)
            values = (key_id, before, number, Stage.CREATING, now_us, now_us, self.owner, until_us)
            rotation = rows.row_id(self._sql.execute(key_rows.BEGIN, values))
            self._log(rotation, "")
        return self._get(rotation)

    def take_over(self, rotation: int) -> KeyRotation:
        """Take the lease of a rotation, unless another owner has it. Raises LeaseHeldError."""
        with self._writing():
            now_us, until_us = self._now_and_lease_end()
            current = self._row(rotation)
            held = now_us < current.lease_until_us <= now_us + MAX_LEASE_US
            if held and current.owner != self.owner:
                raise LeaseHeldError(_held(current))
            self._sql.execute(key_rows.LEASE, (self.owner, until_us, rotation))
            if current.owner not in ("", self.owner):
                self._log(rotation, f"taken over from {current.owner}, whose lease has ended")
        return self._get(rotation)

    def renew(self, rotation: int) -> None:
        """Extend the lease. Raises LeaseHeldError when another owner has it."""
        with self._writing():
            self._sql.execute(key_rows.LEASE, (self.owner, self._check_owner(rotation), rotation))

    def release_lease(self, rotation: int) -> None:
        """End the lease, if it is still this owner's."""
        with self._writing():
            self._sql.execute(key_rows.RELEASE_LEASE, (rotation, self.owner))

    def note(self, rotation: int, text: str) -> None:
        """Record a step within a stage. Raises LeaseHeldError."""
        with self._writing():
            self._check_owner(rotation)
            self._log(rotation, text)

    def advance(
        self, rotation: KeyRotation, stage: Stage, note: str = "", nonce: str = ""
    ) -> KeyRotation:
        """Enter a stage and update the versions' states, in one transaction.

        `nonce` is for the name of the next version, in CREATING. Raises LeaseHeldError when
        another owner has taken over, and RotationRefusedError when the stage cannot follow.
        """
        with self._writing():
            until_us, now_us = self._check_owner(rotation.id), self._clock()
            current = self._row(rotation.id)
            if stage not in NEXT[current.stage]:
                raise RotationRefusedError(
                    f"{current.key_id}: is {current.stage}, not to be {stage}"
                )
            for change, number in self._changes(current, stage):
                times = (now_us, now_us)
                self._sql.execute(key_rows.CHANGE, (change, *times, current.key_id, number))
            to_version = current.to_version
            if stage is Stage.CREATING:
                to_version = self._open_version(current.key_id, nonce)
            ended_us = now_us if stage.ended else None
            values = (to_version, stage, now_us, ended_us, until_us, current.id)
            self._sql.execute(key_rows.ADVANCE, values)
            self._log(current.id, note)
        return self._get(rotation.id)

    def _changes(self, current: KeyRotation, stage: Stage) -> Sequence[tuple[VersionState, int]]:
        """Return the versions' new states in a stage, in an order that the UNIQUE index allows."""
        new, old = current.to_version, current.from_version
        match stage:
            case Stage.SWITCHED:
                return ((VersionState.GRACE, old), (VersionState.ACTIVE, new))
            case Stage.DONE:
                return ((VersionState.REVOKED, old),)
            case Stage.DISCARDING if current.stage is Stage.RESTORING:
                return ((VersionState.PENDING, new), (VersionState.ACTIVE, old))
            case Stage.ROLLED_BACK | Stage.CREATING:
                return ((VersionState.REVOKED, new),)
        return ()

    def identify(
        self, version: Version, remote_id: str, fingerprint: str, created_at_us: int | None
    ) -> None:
        """Record a version's identity at Mistral; "" and None leave a column unchanged."""
        values = (remote_id, fingerprint, created_at_us, version.key_id, version.version)
        with self._writing():
            self._sql.execute(key_rows.IDENTIFY, values)

    def record_use(self, version: Version, at_us: int, *, first: bool) -> None:
        """Record a use of a version that Mistral reports; `first` if it may be the first."""
        values = (at_us if first else None, at_us, version.key_id, version.version)
        with self._writing():
            self._sql.execute(key_rows.RECORD_USE, values)

    def uses(self, version: Version) -> tuple[int | None, int | None]:
        """Return the first and last use of a version, by Mistral and by decisions."""
        with self._reading():
            reported = (
                self._sql.execute(key_rows.SEEN, (version.key_id, version.version)).fetchone(),
                self._sql.execute(key_rows.USES, (str(version),)).fetchone(),
            )
        firsts, lasts = (
            [us for us in column if us is not None] for column in zip(*reported, strict=True)
        )
        return min(firsts, default=None), max(lasts, default=None)

    def close(self) -> None:
        """Close the file."""
        self._sql.close()

    def _open_version(self, key_id: str, nonce: str) -> int:
        number = int(self._sql.execute(key_rows.LAST_VERSION, (key_id,)).fetchone()[0]) + 1
        name = name_at_mistral(key_id, number, nonce)
        self._sql.execute(key_rows.OPEN_VERSION, (key_id, number, name, VersionState.PENDING))
        return number

    def _now_and_lease_end(self) -> tuple[int, int]:
        now_us = self._clock()
        return now_us, now_us + self._lease_us

    def _check_owner(self, rotation: int) -> int:
        """Raise LeaseHeldError if another owner has the lease; return the end of a renewed one."""
        current = self._row(rotation)
        if current.owner != self.owner:
            raise LeaseHeldError(_held(current))
        return self._now_and_lease_end()[1]

    def _log(self, rotation: int, note: str) -> None:
        current = self._row(rotation)
        values = (rotation, self._clock(), current.to_version, current.stage, self.owner, note)
        self._sql.execute(key_rows.LOG, values)

    def _get(self, rotation: int) -> KeyRotation:
        with self._reading():
            return self._row(rotation)

    def _row(self, rotation: int) -> KeyRotation:
        return key_rows.rotation(self._sql.execute(key_rows.ROTATION, (rotation,)).fetchone())

    def _unfinished(self, key_id: str) -> KeyRotation | None:
        found = self._sql.execute(key_rows.UNFINISHED, (key_id,)).fetchone()
        return key_rows.rotation(found) if found else None

    @contextmanager
    def _reading(self) -> Iterator[None]:
        with self._lock, _sqlite_errors():
            yield

    @contextmanager
    def _writing(self) -> Iterator[None]:
        """Run the block in a transaction: all of it is on disk at the end, or nothing."""
        with self._lock, _sqlite_errors():
            self._sql.execute("BEGIN IMMEDIATE")
            try:
                yield
                self._sql.execute("COMMIT")
            except BaseException:
                if self._sql.in_transaction:
                    self._sql.execute("ROLLBACK")
                raise


@contextmanager
def _sqlite_errors() -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as error:
        raise LedgerUnavailableError(str(error)) from None


def _held(rotation: KeyRotation) -> str:
    if not rotation.owner:
        return f"{rotation.key_id}: a rotation is under way, and it is {rotation.stage}"
    return f"{rotation.key_id}: {rotation.owner} is rotating it, and it is {rotation.stage}"
