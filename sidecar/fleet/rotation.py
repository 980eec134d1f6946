"""Rotations of keys in a fleet: one process rotates a key, by the use of it over all holders.

The row of a key's rotation names who has the claim, which lapses, and the two versions that work
meanwhile. Holders read it with each report, and tell of both versions as apps name them, since
their ledgers do not have the versions of a rotation that another ledger runs.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from sidecar.fleet import schema
from sidecar.fleet.key_usage import SilentHolder, silent_holders
from sidecar.fleet.operations import operate
from sidecar.fleet.session import Session
from sidecar.fleet.statements import CLOCK


class VersionUses(NamedTuple):
    """The use of both versions over the fleet."""

    new_first_us: int | None
    old_last_us: int | None
    known_us: int
    """For how long holders have been told of both versions."""
    silent: Sequence[SilentHolder]


async def claim(url_file: Path, key_id: str, owner: str, lease_us: int) -> str:
    """Claim or renew a key's rotation; return the owner, who may be another.

    Raises FleetRefusedError, FleetUnreachableError.
    """

    async def work(session: Session) -> str:
        key = schema.text(key_id)
        await session.fetch(_CLAIM, key, owner, lease_us)
        [row] = await session.fetch(_OWNER, key)
        return str(row["owner"])

    return await operate(url_file, work)


async def release(url_file: Path, key_id: str, owner: str) -> None:
    """End a claim. Raises FleetRefusedError, FleetUnreachableError."""
    key = schema.text(key_id)
    await operate(url_file, lambda session: session.fetch(_RELEASE, key, owner))


async def version_uses(
    url_file: Path, key_id: str, old: str, new: str, within_us: int
) -> VersionUses:
    """Let holders report the use of two versions, and return what they have reported.

    Of silent holders, those count that were heard of within some time. Raises FleetRefusedError,
    FleetUnreachableError.
    """

    async def work(session: Session) -> VersionUses:
        names = (schema.text(key_id), schema.text(old), schema.text(new))
        await session.fetch(_ANNOUNCE, *names)
        [row] = await session.fetch(_VERSION_USES, *names)
        return VersionUses(**row, silent=await silent_holders(session, within_us))

    return await operate(url_file, work)


_CLAIM = f"""
WITH {CLOCK}
INSERT INTO fleet_rotation AS rotation (key_id, owner, until_us)
SELECT $1::text, $2::text, now_us + $3::bigint FROM clock
ON CONFLICT (key_id) DO UPDATE SET owner = excluded.owner, until_us = excluded.until_us
WHERE rotation.owner = excluded.owner OR rotation.until_us <= excluded.until_us - $3::bigint
"""  # noqa: S608 - constants of our own
_OWNER = "SELECT owner FROM fleet_rotation WHERE key_id = $1"
_RELEASE = "UPDATE fleet_rotation SET until_us = 0 WHERE key_id = $1 AND owner = $2"
_ANNOUNCE = f"""
WITH {CLOCK}
INSERT INTO fleet_rotation AS rotation
    (key_id, owner, until_us, old_version, new_version, since_us)
SELECT $1::text, '', 0, $2::text, $3::text, now_us FROM clock
ON CONFLICT (key_id) DO UPDATE SET old_version = excluded.old_version,
    new_version = excluded.new_version, since_us = excluded.since_us
WHERE (rotation.old_version, rotation.new_version) <> (excluded.old_version, excluded.new_version)
"""  # noqa: S608 - constants of our own
_VERSION_USES = f"""
WITH {CLOCK}
SELECT (SELECT min(first_used_us) FROM fleet_version_usage WHERE version = $3) AS new_first_us,
    (SELECT max(last_used_us) FROM fleet_version_usage WHERE version = $2) AS old_last_us,
    now_us - since_us AS known_us
FROM fleet_rotation CROSS JOIN clock WHERE key_id = $1
"""  # noqa: S608 - constants of our own
