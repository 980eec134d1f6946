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
from typing import Any

from sidecar.domain.clock import Clock
from sidecar.domain.rotation import (
    NEXT,
    KeyRotation,
    Stage,
    Step,
    Version,
    VersionState,
    name_at_mistral,
)
from sidecar.ledger import opening, rows
from sidecar.ledger.protocol import LedgerUnavailableError

LONGEST_LEASE_US = 3600 * 1_000_000
"""A lease that ends later than this was written before the clock was set back: it is none."""


class LeaseHeldError(Exception):
    """Somebody else works at this rotation; the text says who, and until when at least."""


class RotationRefusedError(Exception):
    """The rotation is not where this can be done; the text says where it is."""


class KeyBook:
    """The versions and rotations of one ledger. Any thread may use it, one at a time."""

    def __init__(self, path: Path, clock: Clock, owner: str, lease_us: int) -> None:
        """Open the ledger beside its writer; work as the owner, by leases of this length.

        Raises LedgerRefusedError.
        """
        self._sql = opening.open_beside(path)
        self._alone = threading.Lock()
        self._clock = clock
        self._owner = owner
        self._lease_us = min(lease_us, LONGEST_LEASE_US)

    def versions(self, key_id: str) -> list[Version]:
        """Return all that a key has had, the oldest first."""
        with self._reading():
            found = self._sql.execute(_VERSIONS, (key_id,)).fetchall()
        return [_version(row) for row in found]

    def version(self, key_id: str, number: int) -> Version:
        """Return one that is there."""
        return next(one for one in self.versions(key_id) if one.version == number)

    def rotations(self, key_id: str = "") -> list[KeyRotation]:
        """Return the rotations of a key, or of all, the oldest first."""
        with self._reading():
            found = self._sql.execute(_ROTATIONS, (key_id, key_id)).fetchall()
        return [_rotation(row) for row in found]

    def unfinished(self, key_id: str) -> KeyRotation | None:
        """Return the rotation of a key that has not ended."""
        return next((one for one in self.rotations(key_id) if one.ended_at_us is None), None)

    def steps(self, rotation: int) -> list[Step]:
        """Return what happened in a rotation, in order."""
        with self._reading():
            found = self._sql.execute(_STEPS, (rotation,)).fetchall()
        return [Step(*row) for row in found]

    def adopt(
        self, key_id: str, number: int, name: str, remote_id: str, created_at_us: int | None
    ) -> Version:
        """Take a key that Mistral has for the active version; what was active is gone there."""
        with self._writing():
            now_us = self._clock()
            self._sql.execute(_RETIRE, (now_us, key_id))
            taken = self._sql.execute(_LAST_VERSION, (key_id,)).fetchone()[0]
            number = max(number, taken + 1)
            values = (key_id, number, name, remote_id, VersionState.ACTIVE, created_at_us, now_us)
            self._sql.execute(_ADOPT, values)
        return self.version(key_id, number)

    def begin(self, key_id: str, nonce: str) -> KeyRotation:
        """Begin a rotation from the active version, with the lease.

        Raises LeaseHeldError when another is under way.
        """
        with self._writing():
            now_us, until_us = self._times()
            if (there := self._unfinished(key_id)) is not None:
                raise LeaseHeldError(_held(there))
            active = self._sql.execute(_ACTIVE, (key_id,)).fetchone()
            number = self._open_version(key_id, nonce)
            before = active[0] if active else 0
            values = (key_id, before, number, Stage.CREATING, now_us, now_us, self._owner, until_us)
            rotation = rows.row_id(self._sql.execute(_BEGIN, values))
            self._log(rotation, "")
        return self._get(rotation)

    def take(self, rotation: int) -> KeyRotation:
        """Go on with a rotation whose owner's lease has ended. Raises LeaseHeldError."""
        with self._writing():
            now_us, until_us = self._times()
            there = self._row(rotation)
            held = now_us < there.lease_until_us <= now_us + LONGEST_LEASE_US
            if held and there.owner != self._owner:
                raise LeaseHeldError(_held(there))
            self._sql.execute(_LEASE, (self._owner, until_us, rotation))
            if there.owner != self._owner:
                self._log(rotation, f"taken over from {there.owner or 'nobody'}")
        return self._get(rotation)

    def renew(self, rotation: int) -> None:
        """Keep the lease. Raises LeaseHeldError when somebody else has it."""
        with self._writing():
            self._sql.execute(_LEASE, (self._owner, self._mine(rotation), rotation))

    def let_go(self, rotation: int) -> None:
        """End the lease, if it is still ours."""
        with self._writing():
            self._sql.execute(_LET_GO, (rotation, self._owner))

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
                self._sql.execute(_CHANGE, (change, *times, there.key_id, number))
            to_version = there.to_version
            if stage is Stage.CREATING:
                to_version = self._open_version(there.key_id, nonce)
            ended_us = now_us if stage.ended else None
            values = (to_version, stage, now_us, ended_us, until_us, there.id)
            self._sql.execute(_ADVANCE, values)
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
            self._sql.execute(_IDENTIFY, values)

    def saw_use(self, version: Version, at_us: int, *, first: bool) -> None:
        """Write down a use of a version that Mistral tells of; `first` if it may be the first."""
        values = (at_us if first else None, at_us, version.key_id, version.version)
        with self._writing():
            self._sql.execute(_SAW_USE, values)

    def uses(self, version: Version) -> tuple[int | None, int | None]:
        """Return the first and last use of a version that Mistral or decisions tell of."""
        with self._reading():
            said = [self._sql.execute(_USES_SEEN, (version.key_id, version.version)).fetchone()]
            if self._sql.execute(_HAS_USAGE).fetchone():
                said.append(self._sql.execute(_USES, (str(version),)).fetchone())
        firsts, lasts = (
            [us for us in column if us is not None] for column in zip(*said, strict=True)
        )
        return min(firsts, default=None), max(lasts, default=None)

    def close(self) -> None:
        """Let go of the file."""
        self._sql.close()

    def _open_version(self, key_id: str, nonce: str) -> int:
        number = int(self._sql.execute(_LAST_VERSION, (key_id,)).fetchone()[0]) + 1
        name = name_at_mistral(key_id, number, nonce)
        self._sql.execute(_OPEN_VERSION, (key_id, number, name, VersionState.PENDING))
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
        self._sql.execute(_LOG, values)

    def _get(self, rotation: int) -> KeyRotation:
        with self._reading():
            return self._row(rotation)

    def _row(self, rotation: int) -> KeyRotation:
        return _rotation(self._sql.execute(_ROTATION, (rotation,)).fetchone())

    def _unfinished(self, key_id: str) -> KeyRotation | None:
        found = self._sql.execute(_UNFINISHED, (key_id,)).fetchone()
        return _rotation(found) if found else None

    @contextmanager
    def _reading(self) -> Iterator[None]:
        with self._alone, _said():
            yield

    @contextmanager
    def _writing(self) -> Iterator[None]:
        """Write all of the block, on disk when it ends, or nothing."""
        with self._alone, _said():
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


def _version(row: Sequence[Any]) -> Version:
    version = Version(*row)
    return version._replace(state=VersionState(version.state))


def _rotation(row: Sequence[Any]) -> KeyRotation:
    rotation = KeyRotation(*row)
    return rotation._replace(stage=Stage(rotation.stage))


def _held(rotation: KeyRotation) -> str:
    if not rotation.owner:
        return f"{rotation.key_id}: a rotation is under way, and is {rotation.stage}"
    return f"{rotation.key_id}: {rotation.owner} is rotating it, and is {rotation.stage}"


def _select(table: str, columns: Sequence[str], rest: str) -> str:
    return f"SELECT {', '.join(columns)} FROM {table} {rest}"  # noqa: S608 - names of our own


_VERSIONS = _select("key_versions", Version._fields, "WHERE key_id = ? ORDER BY version")
_ROTATION = _select("key_rotations", KeyRotation._fields, "WHERE id = ?")
_ROTATIONS = _select("key_rotations", KeyRotation._fields, "WHERE ? = '' OR key_id = ? ORDER BY id")
_UNFINISHED = _select(
    "key_rotations", KeyRotation._fields, "WHERE key_id = ? AND ended_at_us IS NULL"
)
_STEPS = _select("key_rotation_steps", Step._fields, "WHERE rotation = ? ORDER BY id")
_ACTIVE = "SELECT version FROM key_versions WHERE key_id = ? AND state = 'active'"
_LAST_VERSION = "SELECT coalesce(max(version), 0) FROM key_versions WHERE key_id = ?"
_RETIRE = (
    "UPDATE key_versions SET state = 'revoked', revoked_at_us = ?"
    " WHERE key_id = ? AND state = 'active'"
)
_ADOPT = rows.insert(
    "key_versions", "key_id", "version", "name", "remote_id", "state", "created_at_us",
    "activated_at_us",
)  # fmt: skip
_OPEN_VERSION = rows.insert("key_versions", "key_id", "version", "name", "state")
_IDENTIFY = (
    "UPDATE key_versions SET remote_id = coalesce(nullif(?, ''), remote_id),"
    " fingerprint = coalesce(nullif(?, ''), fingerprint),"
    " created_at_us = coalesce(?, created_at_us) WHERE key_id = ? AND version = ?"
)
_SAW_USE = (
    "UPDATE key_versions SET first_used_at_us = coalesce(first_used_at_us, ?),"
    " last_used_at_us = max(coalesce(last_used_at_us, 0), ?) WHERE key_id = ? AND version = ?"
)
_CHANGE = (
    "UPDATE key_versions SET state = ?1,"
    " activated_at_us = coalesce(activated_at_us, CASE WHEN ?1 = 'active' THEN ?2 END),"
    " revoked_at_us = CASE WHEN ?1 = 'revoked' THEN ?3 ELSE revoked_at_us END"
    " WHERE key_id = ?4 AND version = ?5"
)
_BEGIN = rows.insert(
    "key_rotations", "key_id", "from_version", "to_version", "stage", "stage_at_us",
    "started_at_us", "owner", "lease_until_us",
)  # fmt: skip
_LEASE = "UPDATE key_rotations SET owner = ?, lease_until_us = ? WHERE id = ?"
_LET_GO = "UPDATE key_rotations SET owner = '', lease_until_us = 0 WHERE id = ? AND owner = ?"
_ADVANCE = (
    "UPDATE key_rotations SET to_version = ?, stage = ?, stage_at_us = ?, ended_at_us = ?,"
    " lease_until_us = ? WHERE id = ?"
)
_LOG = rows.insert("key_rotation_steps", "rotation", "at_us", "version", "stage", "owner", "note")
_USES_SEEN = (
    "SELECT first_used_at_us, last_used_at_us FROM key_versions WHERE key_id = ? AND version = ?"
)
_HAS_USAGE = "SELECT 1 FROM sqlite_schema WHERE name = 'key_usage'"
_USES = "SELECT min(first_used_at_us), max(last_used_at_us) FROM key_usage WHERE key_id = ?"
