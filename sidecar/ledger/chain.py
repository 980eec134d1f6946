"""The hash chains over decisions and adjustments, which reveal altered and removed rows.

Each row has the SHA-256 of the previous link and of its own columns; a decision's link also
covers its hold and its amounts, as they were first written. How a hold ends is not in the
chain: `verify` checks that by its sums. Pruning keeps the link of the last decision that it
deleted.
"""

import hashlib
import itertools
import json
import sqlite3
from collections.abc import Iterator, Sequence
from typing import Any

MAX_CHUNK_DECISIONS = 1000
"""Decisions in memory at a time, while an old ledger is linked."""

START = bytes(32)
"""The link before the first."""

DECISION_COLUMNS = (
    "decision_id", "request_id", "fingerprint", "decided_at_us", "effect", "principal", "role",
    "workspace", "key_id", "model_requested", "model", "endpoint", "max_output_tokens", "reasons",
    "shadow_reasons", "budgets", "retry_after_us", "policy_set", "policy_generation",
)  # fmt: skip
FIRST_HOLD_COLUMNS = (
    "hold_id", "expires_at_us", "price", "service_tier", "batch", "region", "held_input_tokens",
    "held_output_tokens", "held_pages", "held_audio_seconds", "held_cost_nano_usd",
)  # fmt: skip
LATER_HOLD_COLUMNS = ("held_characters", "held_annotated_pages", "held_tool_calls")
"""Units added in a later version. A hold with none of them has the same link as before."""
HOLD_COLUMNS = FIRST_HOLD_COLUMNS + LATER_HOLD_COLUMNS
AMOUNT_COLUMNS = ("budget", "held", "charge_on_expiry")
ADJUSTMENT_COLUMNS = ("adjusted_at_us", "budget", "amount", "signed_by", "reason")

Row = Sequence[Any]

_to_json = json.JSONEncoder(separators=(",", ":"), ensure_ascii=False, default=bytes.hex).encode


class Chain:
    """The end of a table's chain, on the connection that writes it."""

    def __init__(self, connection: sqlite3.Connection, table: str) -> None:
        """Continue at the last row of the table."""
        self._sql, self._table = connection, table
        self._head: bytes | None = None

    def link(self, row: Row, hold: Row = (), amounts: Sequence[Row] = ()) -> bytes:
        """Return the next link, to be written with the row."""
        if self._head is None:
            self._head = head(self._sql, self._table)
        self._head = _link(self._head, row, hold, amounts)
        return self._head

    def forget(self) -> None:
        """Drop the cached end: what was linked has been rolled back."""
        self._head = None


def head(connection: sqlite3.Connection, table: str = "decisions") -> bytes:
    """Return the last link of a table: a copy kept elsewhere shows when the end is cut off."""
    last = f"SELECT chain FROM {table} ORDER BY id DESC LIMIT 1"  # noqa: S608 - our own names
    (link,) = connection.execute(last).fetchone() or (_pruned(connection, table)[1],)
    return bytes(link)


def has_link(connection: sqlite3.Connection, link: bytes) -> bool:
    """Whether a link is still in the chain of decisions."""
    found = (
        "SELECT 1 FROM decisions WHERE chain = ?1 UNION ALL SELECT 1 FROM pruned WHERE chain = ?1"
    )
    return link == START or connection.execute(found, (link,)).fetchone() is not None


def breaks(connection: sqlite3.Connection) -> Iterator[str]:
    """Name each decision and adjustment that was altered, or that follows a missing row."""
    after, previous = _pruned(connection, "decisions")
    for _, link, content in _decisions(connection, after):
        if link != _link(previous, *content):
            yield f"decision {content[0][0]}"
        previous = link
    previous = START
    for number, link, *values in connection.execute(
        f"SELECT id, chain, {', '.join(ADJUSTMENT_COLUMNS)} FROM adjustments ORDER BY id"  # noqa: S608
    ):
        if link != _link(previous, values):
            yield f"adjustment {number}"
        previous = link


def link_all(connection: sqlite3.Connection) -> None:
    """Add links to the decisions of a ledger that was written without them."""
    after, previous = 0, START
    old = FIRST_HOLD_COLUMNS
    while some := list(itertools.islice(_decisions(connection, after, old), MAX_CHUNK_DECISIONS)):
        for row, _, content in some:
            previous = _link(previous, *content)
            connection.execute("UPDATE decisions SET chain = ? WHERE id = ?", (previous, row))
        after = row


def _decisions(
    connection: sqlite3.Connection, after: int, of_holds: Sequence[str] = HOLD_COLUMNS
) -> Iterator[tuple[int, bytes, tuple[Row, Row, Sequence[Row]]]]:
    """Yield row id, link and linked content of each decision after a row id."""
    columns = ", ".join(
        [f"d.{name}" for name in DECISION_COLUMNS] + [f"h.{name}" for name in of_holds]
    )
    amounts = f"SELECT {', '.join(AMOUNT_COLUMNS)} FROM hold_amounts WHERE hold = ? ORDER BY budget"  # noqa: S608
    for row, link, hold, *values in connection.execute(
        f"SELECT d.id, d.chain, h.id, {columns} FROM decisions d"  # noqa: S608
        " LEFT JOIN holds h USING (id) WHERE d.id > ? ORDER BY d.id",
        (after,),
    ):
        decision, of_hold = values[: len(DECISION_COLUMNS)], values[len(DECISION_COLUMNS) :]
        if hold is None:
            yield row, link, (decision, (), ())
        else:
            yield row, link, (decision, of_hold, connection.execute(amounts, (row,)).fetchall())


def _pruned(connection: sqlite3.Connection, table: str) -> tuple[int, bytes]:
    """Return the row id and the link of the last decision that was pruned."""
    if table != "decisions":
        return 0, START
    found = connection.execute("SELECT decision, chain FROM pruned").fetchone()
    return (0, START) if found is None else (found[0], bytes(found[1]))


def _link(previous: bytes, row: Row, hold: Row = (), amounts: Sequence[Row] = ()) -> bytes:
    if not any(hold[len(FIRST_HOLD_COLUMNS) :]):
        hold = hold[: len(FIRST_HOLD_COLUMNS)]
    content = _to_json([row, hold, amounts])
    return hashlib.sha256(previous + content.encode()).digest()
