"""Keys in a ledger: their versions and usage, in one read-only snapshot."""

import sqlite3
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
    )


def key_use(
    key_id: str, model: str, effect: str, first_us: int, last_us: int, decisions: int
) -> KeyUse:
    """Return the uses that a row of the view `key_usage` counts."""
    name = KeyName.parse(key_id) or KeyName(key_id, 0)
    return KeyUse(name, model, effect == Effect.ALLOW.value, first_us, last_us, decisions)


_USES = "SELECT key_id, model, effect, first_used_at_us, last_used_at_us, decisions FROM key_usage"
_VERSIONS = f"SELECT {', '.join(Version._fields)} FROM key_versions ORDER BY key_id, version"  # noqa: S608 - names of our own
