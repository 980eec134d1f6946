"""The audit of keys: findings in the registry, and differences from Mistral's list."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC
from enum import StrEnum

from sidecar.domain.clock import SECOND_US, format_date
from sidecar.domain.counted import counted
from sidecar.domain.rotation import Version, VersionState
from sidecar.keys.api_variants import RemoteKey
from sidecar.keys.registry import KeyRecord, KeyState
from sidecar.policy.catalogue import Catalogue
from sidecar.v1 import policy_input_pb2 as policy_pb

DAY_US = 86_400 * SECOND_US
MAX_NAMED = 5


class FindingKind(StrEnum):
    """The kinds of findings."""

    UNUSED = "unused"
    NEVER_USED = "never-used"
    OLD = "old"
    EXPIRED = "expired"
    NO_OWNER = "no-owner"
    WIDE_SCOPE = "wide-scope"
    NOT_REGISTERED = "not-registered"
    NOT_AT_MISTRAL = "not-at-mistral"
    ALIVE_AT_MISTRAL = "alive-at-mistral"


@dataclass(frozen=True, slots=True)
class AuditFinding:
    """A finding about a key, with a sentence that says what to do.

    `key` is its id in the registry; for a key that is not registered, its name at Mistral.
    """

    kind: FindingKind
    key: str
    text: str


@dataclass(frozen=True, slots=True)
class Auditor:
    """Audits keys at one moment. A key counted for less than `unused_days` is not called unused."""

    catalogue: Catalogue
    at_us: int
    unused_days: int = 30
    old_days: int = 90

    def audit(self, keys: Sequence[KeyRecord]) -> Iterator[AuditFinding]:
        """Yield findings about the registered keys that are not revoked."""
        for key in keys:
            state = key.state(self.at_us)
            if state is KeyState.REVOKED:
                continue
            if not key.entry.owner:
                yield AuditFinding(FindingKind.NO_OWNER, key.id, "has no owner: add one")
            if state is KeyState.EXPIRED:
                since = _day(key.entry.expires.ToMicroseconds())
                yield AuditFinding(
                    FindingKind.EXPIRED,
                    key.id,
                    f"expired {since}: mark it as revoked, or set a later end",
                )
                continue
            yield from self._age(key)
            yield from self._use(key)
            yield from self._scope(key)

    def _age(self, key: KeyRecord) -> Iterator[AuditFinding]:
        made_us = key.made_us
        if made_us is None:
            text = "its age is unknown: add `created`, or rotate it"
            yield AuditFinding(FindingKind.OLD, key.id, text)
        elif self._days_since(made_us) >= self.old_days:
            text = f"made {_day(made_us)}, {self._ago(made_us)}: rotate it"
            yield AuditFinding(FindingKind.OLD, key.id, text)

    def _use(self, key: KeyRecord) -> Iterator[AuditFinding]:
        last_us = key.last_used_us
        if last_us is not None and self._days_since(last_us) >= self.unused_days:
            text = f"last used {_day(last_us)}, {self._ago(last_us)}: revoke it?"
            yield AuditFinding(FindingKind.UNUSED, key.id, text)
        elif last_us is None and self._known_long(key):
            text = f"never used since {_day(key.since_us)}, when counting began: revoke it?"
            yield AuditFinding(FindingKind.NEVER_USED, key.id, text)

    def _scope(self, key: KeyRecord) -> Iterator[AuditFinding]:
        """Compare the models that it may call with those that it has called, if any."""
        called = {use.model for use in key.used}
        if not called or not self._known_long(key):
            return
        never = self._never_called(key.entry, called)
        if never:
            shown = ", ".join(never[:MAX_NAMED])
            more = f" and {len(never) - MAX_NAMED} more" if len(never) > MAX_NAMED else ""
            text = f"never called {shown}{more} since {_day(key.since_us)}: narrow allowed_models?"
            yield AuditFinding(FindingKind.WIDE_SCOPE, key.id, text)

    def _never_called(self, key: policy_pb.Key, called: set[str]) -> list[str]:
        """Return the allowed names that no call was for; the models where it may call all."""
        models = {m.message.id: m.message for m in self.catalogue.models.values()}
        names = {name for model in called & models.keys() for name in models[model].names}
        if "*" not in key.allowed_models:
            return [name for name in key.allowed_models if name not in names]
        workspace = self.catalogue.workspaces.get(key.workspace)
        allowed = set() if workspace is None else set(workspace.allowed_models)
        return [
            model_id
            for model_id, model in sorted(models.items())
            if model_id not in called and ("*" in allowed or allowed.intersection(model.names))
        ]

    def compare(
        self, keys: Sequence[KeyRecord], remote: Sequence[RemoteKey]
    ) -> Iterator[AuditFinding]:
        """Yield the differences between the registry and Mistral's list of keys."""
        owner = _Names(keys)
        seen = set()
        for one in remote:
            key = owner.of(one)
            if key is None:
                text = f"Mistral has it as {one.id}: register it, or revoke it there"
                yield AuditFinding(FindingKind.NOT_REGISTERED, one.name or one.id, text)
                continue
            if key.state(self.at_us) is KeyState.REVOKED:
                text = f"is revoked here, and alive at Mistral as {one.id}: revoke it there"
                yield AuditFinding(FindingKind.ALIVE_AT_MISTRAL, key.id, text)
            elif any(v.state is VersionState.REVOKED and _is(v, one) for v in key.versions):
                text = f"a revoked version is alive at Mistral as {one.id}: revoke it there"
                yield AuditFinding(FindingKind.ALIVE_AT_MISTRAL, key.id, text)
            seen.add(key.id)
        for key in keys:
            if key.id not in seen and key.state(self.at_us) is KeyState.ACTIVE:
                text = "Mistral does not list it: mark it as revoked, or create it"
                yield AuditFinding(FindingKind.NOT_AT_MISTRAL, key.id, text)

    def _known_long(self, key: KeyRecord) -> bool:
        """Whether its use has been counted for at least `unused_days`."""
        return key.since_us is not None and self._days_since(key.since_us) >= self.unused_days

    def _ago(self, at_us: int) -> str:
        return f"{counted(self._days_since(at_us), 'day')} ago"

    def _days_since(self, since_us: int) -> int:
        return (self.at_us - since_us) // DAY_US


class _Names:
    """Finds the registered key of a key at Mistral, by its id there or its name."""

    def __init__(self, keys: Sequence[KeyRecord]) -> None:
        self._keys = {key.id: key for key in keys}
        versions = [(version, key) for key in keys for version in key.versions]
        self._by_id = {version.remote_id: key for version, key in versions if version.remote_id}
        self._by_name = {version.name: key for version, key in versions}

    def of(self, one: RemoteKey) -> KeyRecord | None:
        rotated = _ROTATED.fullmatch(one.name)
        return (
            self._by_id.get(one.id)
            or self._keys.get(one.id)
            or self._by_name.get(one.name)
            or self._keys.get(one.name)
            or (self._keys.get(rotated[1]) if rotated else None)
        )


# As domain/rotation.py names versions.
_ROTATED = re.compile(r"(.+)-v[1-9]\d{0,8}-[0-9a-f]{12}", re.DOTALL)


def _is(version: Version, one: RemoteKey) -> bool:
    return one.id == version.remote_id if version.remote_id else one.name == version.name


def _day(at_us: int | None) -> str:
    return "" if at_us is None else format_date(at_us, UTC)
