"""Keys in a ledger: their versions and usage, in one read-only snapshot."""

import json
import sqlite3
from collections.abc import Collection
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

from sqlite_utils import Database

from sidecar.domain.decisions import Effect
from sidecar.domain.keys import KeyName, KeyUse
from sidecar.domain.rotation import Version, VersionState
from sidecar.ledger import ledger_file, schema
from sidecar.ledger.balances import LedgerTime
from sidecar.ledger.protocol import LedgerRefusedError


class KeyFacts(NamedTuple):
    """The keys' usage and versions at one time: the later of the last decision and the clock."""

    at_us: int
    since_us: dict[str, int]
    """By key, when the counting of its use began."""
    uses: list[KeyUse]
    versions: list[Version]
    """By key, the oldest first."""
    decision: int
    """The row id of the last decision or denial."""


def read_keys(path: Path, clock_us: int) -> KeyFacts:
    """Read the keys of a ledger, in use or not. Raises LedgerRefusedError."""
    with closing(ledger_file.open_reader(path)) as connection:
        try:
            return _read(connection, path, clock_us)
        except sqlite3.Error as error:
            raise LedgerRefusedError(f"{path}: cannot be read: {error}") from None


def _read(connection: sqlite3.Connection, path: Path, clock_us: int) -> KeyFacts:
    connection.execute("BEGIN")
    if schema.migrations.pending(Database(connection)):
        raise LedgerRefusedError(
            f"{path}: was written by an older version; start a sidecar on it once to upgrade it"
        )
    found = connection.execute(_USES).fetchall()
    return KeyFacts(
        LedgerTime(connection).advance(clock_us),
        dict(connection.execute("SELECT key_id, since_us FROM key_tracking")),
        [key_use(*row) for row in found],
        [
            version._replace(state=VersionState(version.state))
            for version in map(Version._make, connection.execute(_VERSIONS))
        ],
        int(connection.execute(_LAST_DECISION).fetchone()[0]),
    )


def read_version_uses(
    path: Path, versions: Collection[str], after: int
) -> dict[str, tuple[int, int]]:
    """Return the first and last use of versions of keys, by decisions after a row id.

    A version is KEY#NUMBER, as apps name it: this ledger need not have it. Raises
    LedgerRefusedError.
    """
    with closing(ledger_file.open_reader(path)) as connection:
        try:
            rows = connection.execute(_VERSION_USES, (after, json.dumps(list(versions))))
            return {version: (first_us, last_us) for version, first_us, last_us in rows}
        except sqlite3.Error as error:
            raise LedgerRefusedError(f"{path}: cannot be read: {error}") from None


def key_use(
    key_id: str, model: str, effect: str, first_us: int, last_us: int, decisions: int
) -> KeyUse:
    """Return the uses that a row of the view `key_usage` counts."""
    name = KeyName.parse(key_id) or KeyName(key_id, 0)
    return KeyUse(name, model, effect == Effect.ALLOW.value, first_us, last_us, decisions)


_USES = "SELECT key_id, model, effect, first_used_at_us, last_used_at_us, decisions FROM key_usage"
_LAST_DECISION = (
    "SELECT max((SELECT coalesce(max(id), 0) FROM decisions),"
    " (SELECT coalesce(max(id), 0) FROM denials))"
)
_VERSION_USES = (
    "SELECT key_id, min(decided_at_us), max(decided_at_us) FROM all_decisions"
    " WHERE id > ? AND key_id IN (SELECT value FROM json_each(?)) GROUP BY key_id"
)
_VERSIONS = f"SELECT {', '.join(Version._fields)} FROM key_versions ORDER BY key_id, version"  # noqa: S608 - names of our own
