"""The current tables and views of a ledger, as `schema.sql` shows them to readers."""

import re
from pathlib import Path

from sqlite_utils import Database

from sidecar.ledger import schema

CURRENT = Path(schema.__file__).with_suffix(".sql")


def definitions(db: Database) -> dict[str, str]:
    """Return the SQL of each table, index and view, without the layout of its text."""
    found = db.execute("SELECT name, sql FROM sqlite_schema WHERE sql IS NOT NULL")
    return {
        name: re.sub(r"\s*([(),])\s*", r"\1", " ".join(sql.split()))
        for name, sql in found
        if "_sqlite_migrations" not in name
    }


def test_schema_sql_shows_what_all_migrations_together_make() -> None:
    """A reader finds each table in one place; a migration that forgets it is noticed."""
    new, shown = Database(memory=True), Database(memory=True)
    schema.migrations.apply(new)
    shown.executescript(CURRENT.read_text(encoding="utf-8"))
    assert definitions(new) == definitions(shown)
