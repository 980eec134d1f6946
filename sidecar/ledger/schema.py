"""The version of a ledger file: the migrations that make its tables, in their order.

`schema.sql` has the tables and views as they are now. Each file of `migrations/` is one step on
the way there, named by its number; a new ledger takes them all. A released migration never
changes: files have it applied.
"""

import sqlite3
from collections.abc import Callable
from pathlib import Path

from sqlite_utils import Database, Migrations

from sidecar.ledger import chain

APPLICATION_ID = 0x4D53504C
"""The application id in the file's header: "MSPL", a spend ledger."""

migrations = Migrations("spend-ledger")

_FOLDER = Path(__file__).with_name("migrations")


def _link_decisions(connection: sqlite3.Connection) -> None:
    """Link the decisions that are older than the hash chain."""
    chain.link_all(connection)


def _link_prunings(connection: sqlite3.Connection) -> None:
    """Make the last pruning, which had a table of its own, a link of the hash chain."""
    for decision, link in connection.execute("SELECT decision, chain FROM pruned").fetchall():
        chain.link_pruned(connection, decision, link)
    connection.execute("DROP TABLE pruned")


# What SQL cannot do: the second half of a migration.
_SECOND_HALVES: dict[str, Callable[[sqlite3.Connection], None]] = {
    "0002_chain_and_adjustments": _link_decisions,
    "0010_long_windows": _link_prunings,
}


def _migration(file: Path) -> Callable[[Database], None]:
    """Return the function that applies one file; sqlite-utils runs it in a transaction."""

    def apply(db: Database) -> None:
        for statement in file.read_text(encoding="utf-8").split(";\n"):
            if statement.strip():
                db.execute(statement)
        if file.stem in _SECOND_HALVES:
            _SECOND_HALVES[file.stem](db.conn)

    return apply


for _file in sorted(_FOLDER.glob("*.sql")):
    migrations(name=_file.stem)(_migration(_file))

_KNOWN = {migration.name for migration in migrations.pending(Database(memory=True))}


def unknown_migrations(db: Database) -> list[str]:
    """Return the names of applied migrations that this version does not know.

    If there are any, a newer version wrote the file.
    """
    return sorted({migration.name for migration in migrations.applied(db)} - _KNOWN)
