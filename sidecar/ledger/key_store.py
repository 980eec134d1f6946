"""Versions of keys and their rotations, written beside the one writer of a ledger.

`sidecar keys` has to work while a sidecar serves, so this is a second writer. It may be one,
because nothing of these tables is remembered by anybody: each step reads and writes in a
transaction of its own, of a few rows, and the sidecar's own writer waits its turn.
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
"""A lease that ends later than this was written before the clock was set back: it is none."""


class LeaseHeldError(Exception):
    """Somebody else works at this rotation; the text says who, and until when at least."""


class RotationRefusedError(Exception):
    """The rotation is not where this can be done; the text says where it is."""


class KeyStore:
    """The versions and rotations of one ledger. Any thread may use it, one at a time."""

    def __init__(self, path: Path, clock: Clock, owner: str, lease_us: int) -> None:
        """Open the ledger beside its writer; work as the owner, by leases of this length.

        Raises LedgerRefusedError.
        """
        self._sql = ledger_file.open_beside(path)
        self.run_after_decisions = threading.Lock()
        self._clock = clock
        self._owner = owner
        self._lease_us = min(lease_us, MAX_LEASE_US)

    def versions(self, key_id: str) -> list[Version]:
        """Return all that a key has had, the oldest first."""
        with self._reading():
            found = self._sql.execute(key_rows.VERSIONS, (key_id,)).fetchall()
        return [key_rows.version(row) for row in found]

    def version(self, key_id: str, number: int) -> Version:
        """Return one that is there."""
        return next(one for one in self.versions(key_id) if one.version == number)

    def rotations(self, key_id: str = "") -> list[KeyRotation]:
        """Return the rotations of a key, or of all, the oldest first."""
        with self._reading():
            found = self._sql.execute(key_rows.ROTATIONS, (key_id, key_id)).fetchall()
        return [key_rows.rotation(row) for row in found]

    def unfinished(self, key_id: str) -> KeyRotation | None:
        """Return the rotation of a key that has not ended."""
        return next((one for one in self.rotations(key_id) if one.ended_at_us is None), None)

    def steps(self, rotation: int) -> list[RotationStep]:
        """Return what happened in a rotation, in order."""
        with self._reading():
            found = self._sql.execute(key_rows.STEPS, (rotation,)).fetchall()
        return [RotationStep(*row) for row in found]

    def adopt(
        self, key_id: str, number: int, name: str, remote_id: str, created_at_us: int | None
    ) -> Version:
        """Take a key that Mistral has for the active version; what was active is gone there.

        Raises LeaseHeldError when somebody who was faster rotates it.
        """
        with self._writing():
            now_us = self._clock()
            if (there := self._unfinished(key_id)) is not None:
                raise LeaseHeldError(_held(there))
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
        """Begin a rotation from the active version, with the lease.

        Raises LeaseHeldError when another is under way, and RotationRefusedError when the active
        version is not the one that it is to be a rotation `of`.
        """
        with self._writing():
            now_us, until_us = self._times()
            if (there := self._unfinished(key_id)) is not None:
                raise LeaseHeldError(_held(there))
            active = self._sql.execute(key_rows.ACTIVE, (key_id,)).fetchone()
            before = active[0] if active else 0
            if of is not None and of.version != before:
                raise RotationRefusedError(f"{of} is not the active version any more")
            number = self._open_version(key_id, nonce)
            values = (key_id, before, number, Stage.CREATING, now_us, now_us, self._owner, until_us)
            rotation = rows.row_id(self._sql.execute(key_rows.BEGIN, values))
            self._log(rotation, "")
        return self._get(rotation)

    def take(self, rotation: int) -> KeyRotation:
        """Go on with a rotation whose owner's lease has ended. Raises LeaseHeldError."""
        with self._writing():
            now_us, until_us = self._times()
            there = self._row(rotation)
            held = now_us < there.lease_until_us <= now_us + MAX_LEASE_US
            if held and there.owner != self._owner:
                raise LeaseHeldError(_held(there))
            self._sql.execute(key_rows.LEASE, (self._owner, until_us, rotation))
            if there.owner not in ("", self._owner):
                self._log(rotation, f"taken over from {there.owner}, whose lease has ended")
        return self._get(rotation)

    def renew(self, rotation: int) -> None:
        """Keep the lease. Raises LeaseHeldError when somebody else has it."""
        with self._writing():
            self._sql.execute(key_rows.LEASE, (self._owner, self._mine(rotation), rotation))

    def let_go(self, rotation: int) -> None:
        """End the lease, if it is still ours."""
        with self._writing():
            self._sql.execute(key_rows.LET_GO, (rotation, self._owner))

    def note(self, rotation: int, text: str) -> None:
        """Write down what happened within a stage. Raises LeaseHeldError."""
        with self._writing():
            self._mine(rotation)
            self._log(rotation, text)

    def advance(
        self, rotation: KeyRotation, stage: Stage, note: str = "", nonce: str = ""
    ) -> KeyRotation:
        """Reach a stage, with all that it means for the versions, in one transaction.

        `nonce` names the next version, for CREATING. Raises LeaseHeldError when somebody else
        has taken over, and RotationRefusedError when the stage cannot follow.
        """
        with self._writing():
            until_us, now_us = self._mine(rotation.id), self._clock()
            there = self._row(rotation.id)
            if stage not in NEXT[there.stage]:
                raise RotationRefusedError(f"{there.key_id}: is {there.stage}, not to be {stage}")
            for change, number in self._changes(there, stage):
                times = (now_us, now_us)
                self._sql.execute(key_rows.CHANGE, (change, *times, there.key_id, number))
            to_version = there.to_version
            if stage is Stage.CREATING:
                to_version = self._open_version(there.key_id, nonce)
            ended_us = now_us if stage.ended else None
            values = (to_version, stage, now_us, ended_us, until_us, there.id)
            self._sql.execute(key_rows.ADVANCE, values)
            self._log(there.id, note)
        return self._get(rotation.id)

    def _changes(self, there: KeyRotation, stage: Stage) -> Sequence[tuple[VersionState, int]]:
        """Return what a stage makes of which versions, in an order that the index allows."""
        new, old = there.to_version, there.from_version
        match stage:
            case Stage.SWITCHED:
                return ((VersionState.GRACE, old), (VersionState.ACTIVE, new))
            case Stage.DONE:
                return ((VersionState.REVOKED, old),)
            case Stage.DISCARDING if there.stage is Stage.RESTORING:
                return ((VersionState.PENDING, new), (VersionState.ACTIVE, old))
            case Stage.ROLLED_BACK | Stage.CREATING:
                return ((VersionState.REVOKED, new),)
        return ()

    def identify(
        self, version: Version, remote_id: str, fingerprint: str, created_at_us: int | None
    ) -> None:
        """Write down what a version is at Mistral; what is "" or None stays as it was."""
        values = (remote_id, fingerprint, created_at_us, version.key_id, version.version)
        with self._writing():
            self._sql.execute(key_rows.IDENTIFY, values)

    def saw_use(self, version: Version, at_us: int, *, first: bool) -> None:
        """Write down a use of a version that Mistral tells of; `first` if it may be the first."""
        values = (at_us if first else None, at_us, version.key_id, version.version)
        with self._writing():
            self._sql.execute(key_rows.SAW_USE, values)

    def uses(self, version: Version) -> tuple[int | None, int | None]:
        """Return the first and last use of a version that Mistral or decisions tell of."""
        with self._reading():
            said = (
                self._sql.execute(key_rows.SEEN, (version.key_id, version.version)).fetchone(),
                self._sql.execute(key_rows.USES, (str(version),)).fetchone(),
            )
        firsts, lasts = (
            [us for us in column if us is not None] for column in zip(*said, strict=True)
        )
        return min(firsts, default=None), max(lasts, default=None)

    def close(self) -> None:
        """Let go of the file."""
        self._sql.close()

    def _open_version(self, key_id: str, nonce: str) -> int:
        number = int(self._sql.execute(key_rows.LAST_VERSION, (key_id,)).fetchone()[0]) + 1
        name = name_at_mistral(key_id, number, nonce)
        self._sql.execute(key_rows.OPEN_VERSION, (key_id, number, name, VersionState.PENDING))
        return number

    def _times(self) -> tuple[int, int]:
        now_us = self._clock()
        return now_us, now_us + self._lease_us

    def _mine(self, rotation: int) -> int:
        """Return until when the lease is renewed. Raises LeaseHeldError if it is not ours."""
        there = self._row(rotation)
        if there.owner != self._owner:
            raise LeaseHeldError(_held(there))
        return self._times()[1]

    def _log(self, rotation: int, note: str) -> None:
        there = self._row(rotation)
        values = (rotation, self._clock(), there.to_version, there.stage, self._owner, note)
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
        with self.run_after_decisions, _said():
            yield

    @contextmanager
    def _writing(self) -> Iterator[None]:
        """Write all of the block, on disk when it ends, or nothing."""
        with self.run_after_decisions, _said():
            self._sql.execute("BEGIN IMMEDIATE")
            try:
                yield
                self._sql.execute("COMMIT")
            except BaseException:
                if self._sql.in_transaction:
                    self._sql.execute("ROLLBACK")
                raise


@contextmanager
def _said() -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as error:
        raise LedgerUnavailableError(str(error)) from None


def _held(rotation: KeyRotation) -> str:
    if not rotation.owner:
        return f"{rotation.key_id}: a rotation is under way, and it is {rotation.stage}"
    return f"{rotation.key_id}: {rotation.owner} is rotating it, and it is {rotation.stage}"
