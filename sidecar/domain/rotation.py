"""Rotating a key: the stages, what may follow what, and what is to be done. No I/O.

    CREATING  a name is chosen and written down; a key of that name may exist at Mistral
    CREATED   it exists; its secret is in memory, and nowhere else
    VERIFIED  Mistral takes the secret
    STORING   apps may find the new secret, or the old one
    STORED    apps find the new secret
    SWITCHED  the new version is the active one; the old one is in its grace
    REVOKING  the old key may be gone
    DONE      the old key is gone

The ways out:

    LOST        the secret of the new key is gone: revoke that key, and begin again as CREATING
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
    """How far a rotation has come. Each is on disk before the next is begun."""

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
        """Whether nothing more happens."""
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
"""What may follow. The old key is revoked after SWITCHED alone, and from then on there is no
way back; the new key is revoked only while apps cannot find its secret."""

UNSTORED = frozenset({Stage.CREATING, Stage.CREATED, Stage.VERIFIED, Stage.LOST, Stage.DISCARDING})
"""Where no app can have the new secret."""


STILL_IN_USE = "the old key is still in use after its grace"
"""What is noted of a rotation that waits for a person because of that."""

LEFT_FOR_LATER = "left for a later run: apps need time to find the secret"
"""What is noted of a rotation that nobody waits for, and that is not interrupted."""

NO_WAY_BACK = "the sink did not have the old secret, so there is no way back to it"
"""What is noted of the storing of a version because of that."""


class VersionState(StrEnum):
    """What a version of a key is."""

    PENDING = "pending"
    ACTIVE = "active"
    GRACE = "grace"
    REVOKED = "revoked"


class Version(NamedTuple):
    """One secret that a key has had, in the order of the columns of `key_versions`."""

    key_id: str
    version: int
    name: str
    """What it is called at Mistral."""
    remote_id: str
    fingerprint: str
    state: VersionState
    created_at_us: int | None
    activated_at_us: int | None
    first_used_at_us: int | None
    last_used_at_us: int | None
    revoked_at_us: int | None

    def __str__(self) -> str:
        """Name it as a principal does."""
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
    """What happened in a rotation at one time."""

    at_us: int
    version: int
    stage: str
    owner: str
    note: str


def name_at_mistral(key_id: str, version: int, nonce: str) -> str:
    """Return the name of a version: nobody else's, so that it finds the key again."""
    return f"{key_id}-v{version}-{nonce}"


def version_in(name: str, key_id: str) -> int | None:
    """Return which version of a key some sidecar called so; None if none did."""
    found = re.fullmatch(re.escape(key_id) + r"-v([1-9]\d{0,8})-[0-9a-f]{12}", name)
    return int(found[1]) if found else None


class Listed(NamedTuple):
    """A key that Mistral lists, as far as it matters here."""

    id: str
    name: str
    created_at_us: int | None


class Survey(NamedTuple):
    """What Mistral has of a key."""

    active: Listed | None
    """The version that apps use, as far as can be told."""
    orphans: tuple[Listed, ...]
    """Keys that this ledger has revoked or given up, and which live all the same."""
    foreign: tuple[Listed, ...] = ()
    """Keys that were made in a rotation that this ledger knows nothing of."""
    adopt: bool = False
    """Whether the active one is not in the ledger yet."""
    doubt: str = ""
    """Why no rotation may begin; "" if one may."""


def survey(key_id: str, known: Sequence[Version], listed: Iterable[Listed]) -> Survey:
    """Compare what Mistral lists with what the ledger knows of a key.

    A key that a sidecar with another ledger has rotated is adopted as soon as it is the only
    one that is left: so many ledgers take turns, and none needs the others'.
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
        doubt = f"{_names(foreign)}: it cannot be told which of them is in use"
        return Survey(None, tuple(orphans), tuple(foreign), doubt=doubt)
    return Survey(None, tuple(orphans), doubt=f"Mistral lists no key of the name {key_id}")


def _names(keys: Iterable[Listed]) -> str:
    return ", ".join(sorted(key.name for key in keys))


class GraceVerdict(StrEnum):
    """What is to be done with the old key."""

    WAIT = "wait"
    IN_USE = "in use"
    REVOKE = "revoke"


@dataclass(frozen=True, slots=True)
class Grace:
    """How long the old key lives beside the new one.

    `after_first_use_us` from the first use of the new one, `at_most_us` from the switch if no
    use of it is seen. The old key's last use has to be `after_first_use_us` ago as well.
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
        """Return what to do, and until when to wait. Uses that nobody knows of are None."""
        ends_us = switched_at_us + self.at_most_us
        if new_first_used_us is not None:
            ends_us = min(ends_us, max(new_first_used_us, switched_at_us) + self.after_first_use_us)
        if now_us < ends_us:
            return GraceVerdict.WAIT, ends_us
        quiet_us = (old_last_used_us or 0) + self.after_first_use_us
        if old_last_used_us is not None and old_last_used_us > switched_at_us and now_us < quiet_us:
            return GraceVerdict.IN_USE, quiet_us
        return GraceVerdict.REVOKE, ends_us


def due_at_us(since_us: int, every_us: int, share: int) -> int:
    """Return when a key is to be rotated that has been in use since then.

    `share` of 0 to 999 spreads keys over the last twentieth of the period, so that they do not
    all rotate at once, and none is ever older than the period.
    """
    return since_us + every_us - every_us * share // 20_000
