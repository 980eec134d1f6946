"""Ids of decisions and holds, which carry the key of their row, so that no index has to find it.

An id is a prefix, the row id in hexadecimal, "-", and 80 random bits: `hold_2f1-9c0d…`. A decision
and its hold have one row id and one random part. Before version 0016 an id had no row id and no
"-"; such holds are found by an index of their own, to which nothing is added.
"""

import hmac
import re
import sqlite3
from collections.abc import Callable
from typing import Any

from sidecar.ledger.protocol import HoldUnknownError

RANDOM_BYTES = 10
NO_ROW = 0
"""The row id in the id of a decision that is not recorded, as of a dry run."""

# No row id has more than 15 digits; in SQLite one has up to 63 bits.
_HOLD_ID = re.compile(r"hold_([1-9a-f][0-9a-f]{0,14})-[0-9a-f]{20}")


def unique_part(row: int, entropy: Callable[[int], bytes]) -> str:
    """Return what follows the prefix in the ids of a new decision and its hold."""
    return f"{row:x}-{entropy(RANDOM_BYTES).hex()}"


def read_hold(connection: sqlite3.Connection, query: str, hold_id: str) -> tuple[Any, ...]:
    """Return the row of a query for a hold, whose first column is the hold's id.

    The query's parameter is the row id. Raises HoldUnknownError.
    """
    carried = _HOLD_ID.fullmatch(hold_id)
    row = int(carried[1], 16) if carried else _earlier_row(connection, hold_id)
    found = connection.execute(query, (row,)).fetchone()
    # In constant time: a caller that knows the row id cannot find the random part digit by digit.
    if found is None or not hmac.compare_digest(found[0].encode(), hold_id.encode()):
        raise HoldUnknownError
    return tuple(found)


def _earlier_row(connection: sqlite3.Connection, hold_id: str) -> int:
    """Return the row id of a hold of before version 0016, or NO_ROW."""
    found = connection.execute(_EARLIER, (hold_id,)).fetchone()
    return NO_ROW if found is None else int(found[0])


# The conditions are those of the index: without them, SQLite would read all holds.
_EARLIER = (
    "SELECT id FROM holds INDEXED BY holds_earlier_ids"
    " WHERE hold_id = ? AND instr(hold_id, '-') = 0"
)
