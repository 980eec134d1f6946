"""Registered keys, each with its usage and versions in the ledger."""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum

from sidecar.domain.keys import KeyUse
from sidecar.domain.rotation import Version, VersionState
from sidecar.policy.catalogue import Catalogue
from sidecar.v1 import policy_input_pb2 as policy_pb


class KeyState(StrEnum):
    """The states of a key."""

    ACTIVE = "active"
    EXPIRED = "expired"
    REVOKED = "revoked"


@dataclass(frozen=True, slots=True)
class KeyRecord:
    """A key: its entry in the registry, its usage and its versions."""

    entry: policy_pb.Key
    since_us: int | None
    """When counting of its use began; None if it is not counted."""
    uses: tuple[KeyUse, ...]
    versions: tuple[Version, ...]
    """The oldest first."""

    @property
    def id(self) -> str:
        """Its id in the data files."""
        return self.entry.id

    @property
    def used(self) -> tuple[KeyUse, ...]:
        """The uses by allowed calls; a denied call does not use the key."""
        return tuple(use for use in self.uses if use.allowed)

    @property
    def last_used_us(self) -> int | None:
        """When the last call with it was allowed; None without one."""
        return max((use.last_us for use in self.used), default=None)

    @property
    def made_us(self) -> int | None:
        """When the active secret was created, by the ledger or the registry; None if unknown."""
        for version in self.versions:
            if version.state is VersionState.ACTIVE and version.created_at_us is not None:
                return version.created_at_us
        made = self.entry.HasField("created")
        return self.entry.created.ToMicroseconds() if made else None

    def state(self, at_us: int) -> KeyState:
        """Return its state at a moment. From the time in `expires` on it is expired."""
        if self.entry.state == KeyState.REVOKED:
            return KeyState.REVOKED
        expired = at_us >= self.entry.expires.ToMicroseconds()
        return KeyState.EXPIRED if expired else KeyState.ACTIVE


def records(
    catalogue: Catalogue,
    since_us: Mapping[str, int],
    uses: Iterable[KeyUse],
    versions: Iterable[Version],
) -> list[KeyRecord]:
    """Return a record of each registered key, sorted by id."""
    uses_of, versions_of = defaultdict(list), defaultdict(list)
    for use in uses:
        uses_of[use.name.key].append(use)
    for version in versions:
        versions_of[version.key_id].append(version)
    return [
        KeyRecord(entry, since_us.get(key), tuple(uses_of[key]), tuple(versions_of[key]))
        for key, entry in sorted(catalogue.keys.items())
    ]
