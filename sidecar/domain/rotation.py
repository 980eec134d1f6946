"""Rotation of a key: its stages, their order, the survey of keys and the grace period. No I/O.

    CREATING  the new key's name is on disk; a key of that name may exist at Mistral
    CREATED   it exists; its secret is only in memory
    VERIFIED  Mistral accepts the secret
    STORING   apps may find the new secret, or the old one
    STORED    apps find the new secret
    SWITCHED  the new version is the active one; the old one is in its grace period
    REVOKING  the old key may be gone
    DONE      the old key is gone

The stages of failures and rollbacks:

    LOST        the secret of the new key is gone: revoke that key, and start again at CREATING
    RESTORING   apps may find the old secret again
    DISCARDING  apps find the old secret; the new key is being revoked
    ROLLED_BACK the new key is gone
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

from sidecar.domain.clock import SECOND_US


class Stage(StrEnum):
    """The stages of a rotation. Each is on disk before the next begins."""

    CREATING = "creating"
    CREATED = "created"
    VERIFIED = "verified"
    STORING = "storing"
    STORED = "stored"
    SWITCHED = "switched"
    REVOKING = "revoking"
    DONE = "done"
    LOST = "lost"
    RESTORING = "restoring"
    DISCARDING = "discarding"
    ROLLED_BACK = "rolled-back"

    @property
    def ended(self) -> bool:
        """Whether the rotation has ended."""
        return self in (Stage.DONE, Stage.ROLLED_BACK)


NEXT: dict[Stage, frozenset[Stage]] = {
    stage: frozenset(following)
    for stage, *following in (
        (Stage.CREATING, Stage.CREATED, Stage.LOST, Stage.DISCARDING, Stage.ROLLED_BACK),
        (Stage.CREATED, Stage.VERIFIED, Stage.LOST, Stage.DISCARDING),
        (Stage.VERIFIED, Stage.STORING, Stage.LOST, Stage.DISCARDING),
        (Stage.STORING, Stage.STORED, Stage.LOST, Stage.DISCARDING, Stage.RESTORING),
        (Stage.STORED, Stage.SWITCHED, Stage.RESTORING),
        (Stage.SWITCHED, Stage.REVOKING, Stage.DONE, Stage.RESTORING),
        (Stage.REVOKING, Stage.DONE),
        (Stage.DONE,),
        (Stage.LOST, Stage.CREATING, Stage.DISCARDING),
        (Stage.RESTORING, Stage.DISCARDING, Stage.STORED),
        (Stage.DISCARDING, Stage.ROLLED_BACK),
        (Stage.ROLLED_BACK,),
    )
}
"""The stages that may follow each. The old key is revoked only after SWITCHED, and then there
is no rollback; the new key is revoked only while apps cannot find its secret."""

UNSTORED = frozenset({Stage.CREATING, Stage.CREATED, Stage.VERIFIED, Stage.LOST, Stage.DISCARDING})
"""The stages in which no app can have the new secret."""


STILL_IN_USE = "the old key is still in use after its grace"
"""The note of a rotation that needs a person for this reason."""

LEFT_FOR_LATER = "left for a later run: apps need time to find the secret"
"""The note of a rotation that a later run continues; it was not interrupted."""

NO_WAY_BACK = "the sink did not have the old secret, so there is no way back to it"
"""The note of STORING when the old secret cannot be restored."""


class VersionState(StrEnum):
    """The states of a version of a key."""

    PENDING = "pending"
    ACTIVE = "active"
    GRACE = "grace"
    REVOKED = "revoked"


class Version(NamedTuple):
    """One secret that a key has had, in the order of the columns of `key_versions`."""

    key_id: str
    version: int
    name: str
    """Its name at Mistral."""
    remote_id: str
    fingerprint: str
    state: VersionState
    created_at_us: int | None
    activated_at_us: int | None
    first_used_at_us: int | None
    last_used_at_us: int | None
    revoked_at_us: int | None

    def __str__(self) -> str:
        """Return KEY#VERSION."""
        return f"{self.key_id}#{self.version}"


class KeyRotation(NamedTuple):
    """One rotation, in the order of the columns of `key_rotations`."""

    id: int
    key_id: str
    from_version: int
    """0 for a key's first."""
    to_version: int
    stage: Stage
    stage_at_us: int
    started_at_us: int
    ended_at_us: int | None
    owner: str
    lease_until_us: int


class RotationStep(NamedTuple):
    """An entry in the log of a rotation."""

    at_us: int
    version: int
    stage: str
    owner: str
    note: str


def name_at_mistral(key_id: str, version: int, nonce: str) -> str:
    """Return a version's name at Mistral, unique so that the key can be found by it."""
    return f"{key_id}-v{version}-{nonce}"


def version_in(name: str, key_id: str) -> int | None:
    """Return the version in a name that `name_at_mistral` made for a key; else None."""
    found = re.fullmatch(re.escape(key_id) + r"-v([1-9]\d{0,8})-[0-9a-f]{12}", name)
    return int(found[1]) if found else None


class Listed(NamedTuple):
    """A key that Mistral lists: the fields that a survey needs."""

    id: str
    name: str
    created_at_us: int | None


class Survey(NamedTuple):
    """The versions of one key at Mistral."""

    active: Listed | None
    """The version that apps use, if that is known."""
    orphans: tuple[Listed, ...]
    """Keys that this ledger has as revoked, and that still exist."""
    foreign: tuple[Listed, ...] = ()
    """Keys made in a rotation that is not in this ledger."""
    adopt: bool = False
    """Whether the active key is not in the ledger yet."""
    doubt: str = ""
    """Why no rotation may begin; "" if one may."""


def survey(key_id: str, known: Sequence[Version], listed: Iterable[Listed]) -> Survey:
    """Compare the keys that Mistral lists with a key's versions in the ledger.

    A key that a sidecar with another ledger rotated is adopted as soon as it is the only one
    left, so several ledgers can take turns without knowing of each other.
    """
    names = {version.name: version for version in known}
    ids = {version.remote_id: version for version in known if version.remote_id}
    active = next((v for v in known if v.state is VersionState.ACTIVE), None)
    found, orphans, foreign = None, [], []
    for one in listed:
        mine = ids.get(one.id) or (names.get(one.name) if one.name != key_id else None)
        if mine is not None:
            if active is not None and mine.version == active.version:
                found = one
            elif mine.state is VersionState.REVOKED:
                orphans.append(one)
        elif one.name == key_id or version_in(one.name, key_id) is not None:
            foreign.append(one)
    if found is not None:
        strangers = [one for one in foreign if one.name != key_id]
        doubt = f"{_names(strangers)} belongs to another rotation of this key" if strangers else ""
        return Survey(found, tuple(orphans), tuple(strangers), doubt=doubt)
    if len(foreign) == 1:
        return Survey(foreign[0], tuple(orphans), adopt=True)
    if foreign:
        doubt = f"{_names(foreign)}: it is unknown which of them is in use"
        return Survey(None, tuple(orphans), tuple(foreign), doubt=doubt)
    return Survey(None, tuple(orphans), doubt=f"Mistral lists no key of the name {key_id}")


def _names(keys: Iterable[Listed]) -> str:
    return ", ".join(sorted(key.name for key in keys))


class GraceVerdict(StrEnum):
    """What to do with the old key."""

    WAIT = "wait"
    IN_USE = "in use"
    REVOKE = "revoke"


@dataclass(frozen=True, slots=True)
class Grace:
    """The grace period: how long the old key lives beside the new one.

    It ends `after_first_use_us` after the first use of the new key, or `at_most_us` after the
    switch if none is seen; and not before the old key is unused for `after_first_use_us`.
    """

    after_first_use_us: int = 3600 * SECOND_US
    at_most_us: int = 7 * 86_400 * SECOND_US

    def verdict(
        self,
        now_us: int,
        switched_at_us: int,
        new_first_used_us: int | None,
        old_last_used_us: int | None,
    ) -> tuple[GraceVerdict, int]:
        """Return what to do, and until when to wait. An unknown use is None."""
        ends_us = switched_at_us + self.at_most_us
        if new_first_used_us is not None:
            ends_us = min(ends_us, max(new_first_used_us, switched_at_us) + self.after_first_use_us)
        if now_us < ends_us:
            return GraceVerdict.WAIT, ends_us
        quiet_us = (old_last_used_us or 0) + self.after_first_use_us
        if old_last_used_us is not None and old_last_used_us > switched_at_us and now_us < quiet_us:
            return GraceVerdict.IN_USE, quiet_us
        return GraceVerdict.REVOKE, ends_us


def due_at_us(since_us: int, every_us: int, spread: int) -> int:
    """Return when to rotate a key that is in use since `since_us`.

    `spread` (0 to 999) distributes keys over the last twentieth of the period, so that they do not
    all rotate at once, and none gets older than the period.
    """
    return since_us + every_us - every_us * spread // 20_000
