"""Ledgers of older versions."""

import sqlite3
from contextlib import closing
from pathlib import Path

from sqlite_utils import Database

from sidecar.ledger import schema


def file_of(dump: Path, path: Path) -> Path:
    """Make the file that an old program left."""
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(dump.read_text(encoding="utf-8"))
        connection.execute(f"PRAGMA application_id = {schema.APPLICATION_ID}")
        connection.execute("PRAGMA journal_mode = WAL")
    return path


def make_older(path: Path, *, before: str) -> None:
    """Replace a ledger by one without the migrations from `before` on; it keeps the columns it has."""
    newer = path.with_suffix(".newer")
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    path.rename(newer)
    with closing(Database(path)) as db:
        schema.migrations.apply(db, stop_before=before)
        db.conn.execute(f"PRAGMA application_id = {schema.APPLICATION_ID}")
        db.conn.execute("ATTACH ? AS newer", (str(newer),))
        for table in _names(db.conn, "main", "table") & _names(db.conn, "newer", "table", "view"):
            columns = ", ".join(
                _columns(db.conn, "main", table) & _columns(db.conn, "newer", table)
            )
            db.conn.execute(
                f"INSERT INTO main.{table} ({columns}) SELECT {columns} FROM newer.{table}"
            )
        db.conn.commit()
    newer.unlink()


def _names(connection: sqlite3.Connection, schema_name: str, *kinds: str) -> set[str]:
    """Return the names of a file's tables or views, without those of migrations and of SQLite."""
    found = connection.execute(
        f"SELECT name, type FROM {schema_name}.sqlite_schema"
        " WHERE name NOT LIKE 'sqlite~_%' ESCAPE '~' AND name NOT LIKE '~_%' ESCAPE '~'"
    )
    return {name for name, kind in found if kind in kinds}


def _columns(connection: sqlite3.Connection, schema_name: str, table: str) -> set[str]:
    found = connection.execute(
        "SELECT name FROM pragma_table_xinfo(?, ?) WHERE hidden = 0", (table, schema_name)
    )
    return {name for (name,) in found}
