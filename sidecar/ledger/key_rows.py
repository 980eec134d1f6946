"""SQL for versions of keys and their rotations, and the reading of their rows."""

from collections.abc import Sequence
from typing import Any

from sidecar.domain.rotation import KeyRotation, RotationStep, Stage, Version, VersionState
from sidecar.ledger import rows


def version(row: Sequence[Any]) -> Version:
    """Read a row of VERSIONS."""
    found = Version(*row)
    return found._replace(state=VersionState(found.state))


def rotation(row: Sequence[Any]) -> KeyRotation:
    """Read a row of ROTATION."""
    found = KeyRotation(*row)
    return found._replace(stage=Stage(found.stage))


def _select(table: str, columns: Sequence[str], rest: str) -> str:
    return f"SELECT {', '.join(columns)} FROM {table} {rest}"  # noqa: S608 - names of our own


VERSIONS = _select("key_versions", Version._fields, "WHERE key_id = ? ORDER BY version")
ADOPTED = _select(
    "key_versions", Version._fields, "WHERE key_id = ? AND remote_id = ? AND state = 'active'"
)
ROTATION = _select("key_rotations", KeyRotation._fields, "WHERE id = ?")
ROTATIONS = _select("key_rotations", KeyRotation._fields, "WHERE ? = '' OR key_id = ? ORDER BY id")
UNFINISHED = _select(
    "key_rotations", KeyRotation._fields, "WHERE key_id = ? AND ended_at_us IS NULL"
)
STEPS = _select("key_rotation_steps", RotationStep._fields, "WHERE rotation = ? ORDER BY id")
ACTIVE = "SELECT version FROM key_versions WHERE key_id = ? AND state = 'active'"
LAST_VERSION = "SELECT coalesce(max(version), 0) FROM key_versions WHERE key_id = ?"
RETIRE = (
    "UPDATE key_versions SET state = 'revoked', revoked_at_us = ?"
    " WHERE key_id = ? AND state = 'active'"
)
ADOPT = rows.insert(
    "key_versions", "key_id", "version", "name", "remote_id", "state", "created_at_us",
    "activated_at_us",
)  # fmt: skip
OPEN_VERSION = rows.insert("key_versions", "key_id", "version", "name", "state")
IDENTIFY = (
    "UPDATE key_versions SET remote_id = coalesce(nullif(?, ''), remote_id),"
    " fingerprint = coalesce(nullif(?, ''), fingerprint),"
    " created_at_us = coalesce(?, created_at_us) WHERE key_id = ? AND version = ?"
)
RECORD_USE = (
    "UPDATE key_versions SET first_used_at_us = coalesce(first_used_at_us, ?),"
    " last_used_at_us = max(coalesce(last_used_at_us, 0), ?) WHERE key_id = ? AND version = ?"
)
CHANGE = (
    "UPDATE key_versions SET state = ?1,"
    " activated_at_us = coalesce(activated_at_us, CASE WHEN ?1 = 'active' THEN ?2 END),"
    " revoked_at_us = CASE WHEN ?1 = 'revoked' THEN ?3 ELSE revoked_at_us END"
    " WHERE key_id = ?4 AND version = ?5"
)
BEGIN = rows.insert(
    "key_rotations", "key_id", "from_version", "to_version", "stage", "stage_at_us",
    "started_at_us", "owner", "lease_until_us",
)  # fmt: skip
LEASE = "UPDATE key_rotations SET owner = ?, lease_until_us = ? WHERE id = ?"
RELEASE_LEASE = "UPDATE key_rotations SET owner = '', lease_until_us = 0 WHERE id = ? AND owner = ?"
ADVANCE = (
    "UPDATE key_rotations SET to_version = ?, stage = ?, stage_at_us = ?, ended_at_us = ?,"
    " lease_until_us = ? WHERE id = ?"
)
LOG = rows.insert("key_rotation_steps", "rotation", "at_us", "version", "stage", "owner", "note")
SEEN = "SELECT first_used_at_us, last_used_at_us FROM key_versions WHERE key_id = ? AND version = ?"
USES = "SELECT min(first_used_at_us), max(last_used_at_us) FROM key_usage WHERE key_id = ?"
