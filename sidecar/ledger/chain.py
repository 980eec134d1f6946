"""The hash chains over decisions and adjustments: none is altered or taken out unseen.

Each row has the SHA-256 of the one before it and of its own columns, for a decision also
of its hold's and its amounts', as they were when it was written. How a hold ends is not
in the chain: the sums that `verify` rebuilds are about that. Pruning keeps the link of
the last decision that it took away.
"""

import hashlib
import itertools
import json
import sqlite3
from collections.abc import Iterator, Sequence
from typing import Any

LINKED_AT_ONCE = 1000
"""Decisions of an old ledger in memory at a time."""

START = bytes(32)
"""What the first link follows."""

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
"""Units of a later version. A hold with none of them has the link that it always had."""
HOLD_COLUMNS = FIRST_HOLD_COLUMNS + LATER_HOLD_COLUMNS
AMOUNT_COLUMNS = ("budget", "held", "charge_on_expiry")
ADJUSTMENT_COLUMNS = ("adjusted_at_us", "budget", "amount", "signed_by", "reason")

Row = Sequence[Any]

_to_json = json.JSONEncoder(separators=(",", ":"), ensure_ascii=False, default=bytes.hex).encode


class Chain:
    """The end of a table's chain, on the connection that writes it."""

    def __init__(self, connection: sqlite3.Connection, table: str) -> None:
        """Go on where the table ends."""
        self._sql, self._table = connection, table
        self._head: bytes | None = None

    def link(self, row: Row, hold: Row = (), amounts: Sequence[Row] = ()) -> bytes:
        """Return the next link, which is to be written with the row."""
        if self._head is None:
            self._head = head(self._sql, self._table)
        self._head = _link(self._head, row, hold, amounts)
        return self._head

    def forget(self) -> None:
        """Look the end up again: what was linked has been rolled back."""
        self._head = None


def head(connection: sqlite3.Connection, table: str = "decisions") -> bytes:
    """Return the last link of a table. Whoever keeps it can tell when the end is cut off."""
    last = f"SELECT chain FROM {table} ORDER BY id DESC LIMIT 1"  # noqa: S608 - our own names
    (link,) = connection.execute(last).fetchone() or (_pruned(connection, table)[1],)
    return bytes(link)


def has_link(connection: sqlite3.Connection, link: bytes) -> bool:
    """Whether a link that somebody has kept is still in the chain of decisions."""
    found = (
        "SELECT 1 FROM decisions WHERE chain = ?1 UNION ALL SELECT 1 FROM pruned WHERE chain = ?1"
    )
    return link == START or connection.execute(found, (link,)).fetchone() is not None


def breaks(connection: sqlite3.Connection) -> Iterator[str]:
    """Name each decision and adjustment that is not as it was, or follows one that is gone."""
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
    """Chain the decisions of a ledger from before there was a chain."""
    after, previous = 0, START
    old = FIRST_HOLD_COLUMNS
    while some := list(itertools.islice(_decisions(connection, after, old), LINKED_AT_ONCE)):
        for row, _, content in some:
            previous = _link(previous, *content)
            connection.execute("UPDATE decisions SET chain = ? WHERE id = ?", (previous, row))
        after = row


def _decisions(
    connection: sqlite3.Connection, after: int, of_holds: Sequence[str] = HOLD_COLUMNS
) -> Iterator[tuple[int, bytes, tuple[Row, Row, Sequence[Row]]]]:
    """Yield row, link and what it covers, for each decision after a row."""
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
    """Return the row and the link of the last decision that was pruned."""
    if table != "decisions":
        return 0, START
    found = connection.execute("SELECT decision, chain FROM pruned").fetchone()
    return (0, START) if found is None else (found[0], bytes(found[1]))


def _link(previous: bytes, row: Row, hold: Row = (), amounts: Sequence[Row] = ()) -> bytes:
    if not any(hold[len(FIRST_HOLD_COLUMNS) :]):
        hold = hold[: len(FIRST_HOLD_COLUMNS)]
    content = _to_json([row, hold, amounts])
    return hashlib.sha256(previous + content.encode()).digest()
