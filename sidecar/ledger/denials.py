"""Denials: the latest of them, in a table of bounded size where the oldest make room for new ones.

So a caller that is denied everything takes a bounded part of the disk, and its denials take
nothing from allowed calls. They have a hash chain of their own: see chain.py.
"""

import sqlite3
from operator import itemgetter
from typing import NamedTuple

from sidecar.domain.decisions import DenialCounts
from sidecar.ledger.chain import DECISION_COLUMNS, DENIAL_COLUMNS, Chain, Row
from sidecar.ledger.key_usage import KeyUsage
from sidecar.ledger.rows import insert

DEFAULT_MAX_DENIALS = 50_000

MAX_DELETED = 100
"""Denials that are deleted at once: bounds how long other requests wait."""


class _Numbers(NamedTuple):
    """The numbers of the last denial, and of the last that is gone; and how many were dropped."""

    last: int
    gone: int
    dropped: int


class Denials:
    """Records denials on one connection, in a transaction of the caller's."""

    def __init__(
        self, connection: sqlite3.Connection, key_usage: KeyUsage, max_denials: int
    ) -> None:
        """Keep at most so many; what goes is counted in the usage of keys first (U1)."""
        self._sql = connection
        self._key_usage = key_usage
        self._max = max_denials
        # With many, some are deleted at once, which is faster than one for each new denial.
        self._at_once = min(max(1, max_denials // 1000), MAX_DELETED)
        self._chain = Chain(connection, "denials")
        self._numbers: _Numbers | None = None

    def record(self, row: int, decision: Row) -> None:
        """Insert a denial with this row id; `decision` has the values of DECISION_COLUMNS."""
        last, gone, dropped = self._numbers or _numbers(self._sql)
        surplus = last + 1 - gone - self._max
        dropping = min(max(surplus, self._at_once), MAX_DELETED) if surplus > 0 else 0
        last, dropped = last + 1, dropped + dropping
        values = (row, last, dropped, *_of_decision(decision))
        self._sql.execute(_INSERT, (*values, self._chain.link(values)))
        if dropping:
            gone = self._delete(dropping)
        self._numbers = _Numbers(last, gone, dropped)

    def prune(self, before_us: int) -> int:
        """Delete the oldest denials, if they are older than a time; return how many.

        The latest always stays: it carries the ledger's time (L9), and the numbers.
        """
        (old,) = self._sql.execute(_OLD, (MAX_DELETED, before_us)).fetchone()
        if old:
            gone = self._delete(old)
            if self._numbers:
                self._numbers = self._numbers._replace(gone=gone)
        return int(old)

    def forget(self) -> None:
        """Drop what is cached: a transaction was rolled back, and its denials with it."""
        self._numbers = None
        self._chain.forget()

    def _delete(self, oldest: int) -> int:
        """Delete so many of the oldest; return the number of the last of them."""
        row, number, link = self._sql.execute(_LAST_OF_OLDEST, (oldest - 1,)).fetchone()
        self._key_usage.count_through(row)
        self._sql.execute("DELETE FROM denials WHERE id <= ?", (row,))
        self._sql.execute("UPDATE denials_gone SET number = ?, chain = ?", (number, link))
        return int(number)


def denial_counts(connection: sqlite3.Connection) -> DenialCounts:
    """Return the counts of a ledger's denials."""
    last, gone, dropped = _numbers(connection)
    return DenialCounts(last - gone, dropped)


def _numbers(connection: sqlite3.Connection) -> _Numbers:
    return _Numbers(*connection.execute(_NUMBERS).fetchone())


_of_decision = itemgetter(*(DECISION_COLUMNS.index(name) for name in DENIAL_COLUMNS[3:]))
_INSERT = insert("denials", *DENIAL_COLUMNS, "chain")
_NUMBERS = """
SELECT coalesce(max(number), gone), gone, coalesce(max(dropped), 0)
FROM (SELECT coalesce((SELECT number FROM denials_gone), 0) AS gone)
LEFT JOIN (SELECT number, dropped FROM denials ORDER BY id DESC LIMIT 1)"""
_LAST_OF_OLDEST = "SELECT id, number, chain FROM denials ORDER BY id LIMIT 1 OFFSET ?"
# What was decided before a correction of the time is older than that: see retention.py.
_OLD = """
SELECT count(*) FROM (
  SELECT id, decided_at_us FROM denials WHERE id < (SELECT max(id) FROM denials)
  ORDER BY id LIMIT ?1
) WHERE decided_at_us < ?2
  OR id <= (SELECT max(follows) FROM time_corrections WHERE to_us < ?2)"""
