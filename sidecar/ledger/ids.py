"""Ids of decisions and holds, which carry the key of their row, so that no index has to find it.

An id is a prefix, the row id in hexadecimal, "-", and 80 random bits: `hold_2f1-9c0d…`. A decision
and its hold have one row id and one random part. Before version 0016 an id had no row id and no
"-"; such holds are found by an index of their own, to which nothing is added.
"""

import re
import sqlite3
from collections.abc import Callable

RANDOM_BYTES = 10
NO_ROW = 0
"""The row id in the id of a decision that is not recorded, as of a dry run."""

# No row id has more than 15 digits; in SQLite one has up to 63 bits.
_HOLD_ID = re.compile(r"hold_([1-9a-f][0-9a-f]{0,14})-[0-9a-f]{20}")


def unique_part(row: int, entropy: Callable[[int], bytes]) -> str:
    """Return what follows the prefix in the ids of a new decision and its hold."""
    return f"{row:x}-{entropy(RANDOM_BYTES).hex()}"


def row_of(connection: sqlite3.Connection, hold_id: str) -> int:
    """Return the row id that a hold's id names, which may not be there, or have another id."""
    carried = _HOLD_ID.fullmatch(hold_id)
    return int(carried[1], 16) if carried else _earlier_row(connection, hold_id)


def _earlier_row(connection: sqlite3.Connection, hold_id: str) -> int:
    """Return the row id of a hold of before version 0016, or NO_ROW."""
    found = connection.execute(_EARLIER, (hold_id,)).fetchone()
    return NO_ROW if found is None else int(found[0])


# The conditions are those of the index: without them, SQLite would read all holds.
_EARLIER = (
    "SELECT id FROM holds INDEXED BY holds_earlier_ids"
    " WHERE hold_id = ? AND instr(hold_id, '-') = 0"
)
