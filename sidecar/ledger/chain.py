"""The hash chains of decisions, denials and signed entries, which reveal altered and removed rows.

Each row has the SHA-256 of the previous link and of its own columns; a decision's link also
covers its hold and its amounts, as they were first written. How a hold ends is not in the
chain: `verify` checks that by its sums.

A pruning is a link of the chain of decisions, too, between those before and after it. It covers
the last decision that it deleted, with its link, and a digest of all opening balances, which
only prunings change.

The oldest denial that is left follows the last that is gone, whose number and link are kept. A
denial's link covers its number and how many were dropped until then, so the counts are proven.
"""

import hashlib
import heapq
import itertools
import json
import sqlite3
from collections.abc import Iterator, Sequence
from operator import itemgetter
from typing import Any, NamedTuple

from sidecar.ledger.rows import insert

MAX_CHUNK_DECISIONS = 1000
"""Decisions in memory at a time, while an old ledger is linked."""

START = bytes(32)
"""The link before the first."""

DECISION_COLUMNS = (
    "decision_id", "request_id", "fingerprint", "decided_at_us", "effect", "principal", "role",
    "workspace", "key_id", "model_requested", "model", "endpoint", "max_output_tokens", "reasons",
    "shadow_reasons", "budgets", "retry_after_us", "policy_set", "policy_generation",
)  # fmt: skip
DENIAL_COLUMNS = (
    "id", "number", "dropped", "decision_id", "request_id", "fingerprint", "decided_at_us",
    "principal", "role", "workspace", "key_id", "model_requested", "model", "endpoint", "reasons",
    "shadow_reasons", "budgets", "retry_after_us", "policy_set", "policy_generation",
)  # fmt: skip
FIRST_HOLD_COLUMNS = (
    "hold_id", "expires_at_us", "price", "service_tier", "batch", "region", "held_input_tokens",
    "held_output_tokens", "held_pages", "held_audio_seconds", "held_cost_nano_usd",
)  # fmt: skip
LATER_HOLD_COLUMNS = ("held_characters", "held_annotated_pages", "held_tool_calls")
"""Units added in a later version. A hold with none of them has the same link as before."""
HOLD_COLUMNS = FIRST_HOLD_COLUMNS + LATER_HOLD_COLUMNS
FIRST_PRUNING_COLUMNS = ("follows", "pruned", "pruned_chain", "openings")
"""What a pruning before version 0013 has."""
ADJUSTMENT_COLUMNS = ("adjusted_at_us", "budget", "amount", "signed_by", "reason")
TIME_CORRECTION_COLUMNS = ("follows", "from_us", "to_us", "signed_by", "reason")
OPENING_COLUMNS = ("id", "rule", "window", "meter", "scope", "window_start_us", "opening")

Row = Sequence[Any]


class Pruning(NamedTuple):
    """A row of the table `prunings`, by its columns."""

    follows: int
    """The latest decision at that time, by its row id: the link before."""
    pruned: int
    """The last decision that was deleted, by its row id."""
    pruned_chain: bytes
    """That decision's link, which the link of the first that is left follows."""
    openings: bytes
    """The digest of all opening balances after it."""
    before_us: int
    """Windows that ended before may have been deleted, by this pruning or an earlier one; 0 where
    that is not known."""
    chain: bytes

    def linked(self) -> Row:
        """Return what its link covers."""
        return self[:-1] if self.before_us else self[: len(FIRST_PRUNING_COLUMNS)]


_PRUNINGS = f"SELECT {', '.join(Pruning._fields)} FROM prunings ORDER BY id"  # noqa: S608 - ours
_INSERT_PRUNING = insert("prunings", *Pruning._fields)
_LATEST = "SELECT id, decided_at_us FROM decisions ORDER BY id DESC LIMIT 1"
_OPENINGS = f"""
SELECT json_array({", ".join(OPENING_COLUMNS)}) FROM budgets INDEXED BY budgets_with_opening
WHERE opening IS NOT NULL ORDER BY id"""  # noqa: S608 - our own names

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


class DecisionChain(Chain):
    """The end of the chain of decisions and prunings."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        """Continue at the last decision or pruning."""
        super().__init__(connection, "decisions")

    def link_of(self, decision: int) -> bytes:
        """Return the link of a decision, by its row id."""
        found = self._sql.execute("SELECT chain FROM decisions WHERE id = ?", (decision,))
        return bytes(found.fetchone()[0])

    def prune(self, decision: int, link: bytes, before_us: int) -> None:
        """Record that this decision, with this link, was the last of those just deleted.

        Windows that ended before `before_us` may have been deleted, too. Earlier prunings are
        deleted if they are before it in the chain.
        """
        latest, latest_us = self._sql.execute(_LATEST).fetchone()
        if earlier := last_pruning(self._sql):
            before_us = max(before_us, earlier.before_us or latest_us)
        values = (latest, decision, link, openings(self._sql), before_us)
        self._sql.execute(_INSERT_PRUNING, (*values, self.link(values)))
        self._sql.execute("DELETE FROM prunings WHERE follows < ?", (decision,))


def head(connection: sqlite3.Connection, table: str = "decisions") -> bytes:
    """Return the last link of a table: a copy kept elsewhere shows when the end is cut off."""
    last = f"SELECT id, chain FROM {table} ORDER BY id DESC LIMIT 1"  # noqa: S608 - our own names
    row, link = connection.execute(last).fetchone() or (0, START)
    if table == "decisions" and (pruning := last_pruning(connection)) and pruning.follows >= row:
        return pruning.chain
    return bytes(link)


def last_pruning(connection: sqlite3.Connection) -> Pruning | None:
    """Return the last pruning, if there was one."""
    found = connection.execute(f"{_PRUNINGS} DESC LIMIT 1").fetchone()
    return None if found is None else Pruning(*found)


def has_link(connection: sqlite3.Connection, link: bytes) -> bool:
    """Whether a link is still in the chain of decisions, or in that of denials."""
    found = (
        "SELECT 1 FROM decisions WHERE chain = ?1 UNION ALL SELECT 1 FROM denials WHERE chain = ?1"
        " UNION ALL SELECT 1 FROM prunings WHERE ?1 IN (chain, pruned_chain)"
    )
    return link == START or connection.execute(found, (link,)).fetchone() is not None


def openings(connection: sqlite3.Connection) -> bytes:
    """Return the digest of all opening balances."""
    digest = hashlib.sha256()
    for (row,) in connection.execute(_OPENINGS):
        digest.update(row.encode())
    return digest.digest()


NO_OPENINGS = hashlib.sha256().digest()
"""The digest of a ledger without opening balances."""


def breaks(connection: sqlite3.Connection) -> Iterator[str]:
    """Name each row of a chain that was altered, or follows a missing row."""
    last = last_pruning(connection)
    after, previous = (0, START) if last is None else (last.pruned, last.pruned_chain)
    decisions = (
        ((row, 0), f"decision {content[0][0]}", link, content)
        for row, link, content in _decisions(connection, after)
    )
    prunings = (
        ((one.follows, 1), "a pruning", one.chain, (one.linked(), (), ()))
        for one in map(Pruning._make, connection.execute(_PRUNINGS))
    )
    for _, place, link, content in heapq.merge(decisions, prunings, key=itemgetter(0)):
        if link != _link(previous, *content):
            yield place
        previous = link
    yield from _breaks_of_denials(connection)
    yield from _signed_breaks(connection, "adjustment", ADJUSTMENT_COLUMNS)
    yield from _signed_breaks(connection, "time correction", TIME_CORRECTION_COLUMNS)


def _signed_breaks(
    connection: sqlite3.Connection, kind: str, columns: Sequence[str]
) -> Iterator[str]:
    """Name each signed entry of a kind that was altered, or follows a missing one."""
    table = f"{kind.replace(' ', '_')}s"
    previous = START
    for number, link, *values in connection.execute(
        f"SELECT id, chain, {', '.join(columns)} FROM {table} ORDER BY id"  # noqa: S608 - our own names
    ):
        if link != _link(previous, values):
            yield f"{kind} {number}"
        previous = link


def _breaks_of_denials(connection: sqlite3.Connection) -> Iterator[str]:
    gone = connection.execute("SELECT number, chain FROM denials_gone").fetchone() or (0, b"")
    previous = gone
    for place, number, link, *values in connection.execute(
        f"SELECT decision_id, number, chain, {', '.join(DENIAL_COLUMNS)} FROM denials ORDER BY id"  # noqa: S608
    ):
        if number != previous[0] + 1 or link != _link(previous[1], values):
            yield f"denial {place}"
        previous = number, link
    if previous is gone and gone != (0, START):
        yield "the number of denials that are gone"


def link_all(connection: sqlite3.Connection) -> None:
    """Add links to the decisions of a ledger that was written without them."""
    after, previous = 0, START
    old = (FIRST_HOLD_COLUMNS, _EARLIER_AMOUNTS)
    while some := list(itertools.islice(_decisions(connection, after, *old), MAX_CHUNK_DECISIONS)):
        for row, _, content in some:
            previous = _link(previous, *content)
            connection.execute("UPDATE decisions SET chain = ? WHERE id = ?", (previous, row))
        after = row


def link_pruned(connection: sqlite3.Connection, decision: int, link: bytes) -> None:
    """Add the last pruning of a ledger that did not have it in the chain."""
    latest, previous = connection.execute(
        "SELECT id, chain FROM decisions ORDER BY id DESC LIMIT 1"
    ).fetchone()
    values = (latest, decision, link, openings(connection))
    connection.execute(
        insert("prunings", *FIRST_PRUNING_COLUMNS, "chain"), (*values, _link(previous, values))
    )


def _decisions(
    connection: sqlite3.Connection,
    after: int,
    of_holds: Sequence[str] = HOLD_COLUMNS,
    amounts: str = "h.amounts",
) -> Iterator[tuple[int, bytes, tuple[Row, Row, Sequence[Row]]]]:
    """Yield row id, link and linked content of each decision after a row id."""
    columns = ", ".join(
        [f"d.{name}" for name in DECISION_COLUMNS] + [f"h.{name}" for name in of_holds]
    )
    for row, link, hold, packed, *values in connection.execute(
        f"SELECT d.id, d.chain, h.id, {amounts}, {columns} FROM decisions d"  # noqa: S608
        " LEFT JOIN holds h USING (id) WHERE d.id > ? ORDER BY d.id",
        (after,),
    ):
        decision, of_hold = values[: len(DECISION_COLUMNS)], values[len(DECISION_COLUMNS) :]
        if hold is None:
            yield row, link, (decision, (), ())
        else:
            yield row, link, (decision, of_hold, _linked_amounts(packed))


_EARLIER_AMOUNTS = """(
  SELECT json_group_array(json_array(budget, held, charge_on_expiry, charged))
  FROM (SELECT * FROM hold_amounts WHERE hold = h.id ORDER BY budget)
)"""
"""The amounts of holds h as their column has them since version 0016."""


def _linked_amounts(packed: str) -> Sequence[Row]:
    """Return what a link covers of a hold's amounts; of another form of them, what breaks it."""
    try:
        amounts = json.loads(packed)
        budgets = [budget for budget, _, _, _ in amounts]
        numbers = {type(number) for amount in amounts for number in amount}
    except (ValueError, TypeError):
        return [[packed]]
    in_order = all(one < other for one, other in itertools.pairwise(budgets))
    return [amount[:3] for amount in amounts] if numbers <= {int} and in_order else [[packed]]


def _link(previous: bytes, row: Row, hold: Row = (), amounts: Sequence[Row] = ()) -> bytes:
    if not any(hold[len(FIRST_HOLD_COLUMNS) :]):
        hold = hold[: len(FIRST_HOLD_COLUMNS)]
    content = _to_json([row, hold, amounts])
    return hashlib.sha256(previous + content.encode()).digest()
