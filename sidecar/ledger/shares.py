"""Shares as this ledger has them on its disk, and its place in the fleet."""

import sqlite3
from collections.abc import Iterable
from typing import NamedTuple

from sidecar.domain.decisions import Meter
from sidecar.domain.sharing import NO_SHARE, BudgetKey, Share
from sidecar.domain.windows import Window
from sidecar.ledger.rows import insert

IN_FLEET = "this ledger is in a fleet, whose budgets are adjusted with `sidecar fleet adjust`"


class Holder(NamedTuple):
    """This ledger as a holder in a fleet."""

    uid: str
    fleet_id: str
    boot: int
    """How often a sidecar has started on it."""
    version: int
    """Of the last answer that is in the shares."""
    timeline: int
    """The highest of PostgreSQL that it has seen."""
    reported_after: int = 0
    """The last decision when the ledger got this place, after one in which it reported what was
    spent until then; 0 where it joined."""


def read_holder(connection: sqlite3.Connection) -> Holder | None:
    """Return this ledger's row as a holder; None if it has never been in a fleet."""
    row = connection.execute(_HOLDER).fetchone()
    return None if row is None else Holder(*row)


def write_holder(connection: sqlite3.Connection, holder: Holder) -> None:
    """Write it, in a transaction of the caller's."""
    connection.execute(_PUT_HOLDER, holder)


class Shares:
    """The shares in the table, which are read once: only this writer changes them."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        """Use the writer's connection."""
        self._sql = connection
        self._by_key: dict[BudgetKey, tuple[int, Share]] | None = None

    def get(self, key: BudgetKey) -> Share:
        """Return a share."""
        return self._all().get(key, _NONE)[1]

    def has(self, key: BudgetKey) -> bool:
        """Whether there is a share, of 0 or more."""
        return key in self._all()

    def all(self) -> Iterable[tuple[BudgetKey, int, Share]]:
        """Return all shares, with the ends of their windows."""
        return [(key, end_us, share) for key, (end_us, share) in self._all().items()]

    def put(self, key: BudgetKey, end_us: int, share: Share) -> None:
        """Write a share, in a transaction of the caller's."""
        self._all()[key] = (end_us, share)
        rule, meter, window, scope, start_us = key
        self._sql.execute(_PUT, (rule, meter.value, window.value, scope, start_us, end_us, *share))

    def drop(self, key: BudgetKey) -> None:
        """Delete a share, whose window is over."""
        if self._all().pop(key, None) is not None:
            self._sql.execute(_DROP, key)

    def drop_ended(self, before_us: int) -> None:
        """Delete the shares of windows that ended before a time."""
        for key, ends_us, _ in self.all():
            if ends_us <= before_us:
                self.drop(key)

    def forget(self) -> None:
        """Drop what was read: a transaction was rolled back."""
        self._by_key = None

    def _all(self) -> dict[BudgetKey, tuple[int, Share]]:
        if self._by_key is None:
            self._by_key = {}
            for rule, meter, window, scope, start_us, end_us, *share in self._sql.execute(_ALL):
                key = BudgetKey(rule, Meter(meter), Window(window), scope, start_us)
                self._by_key[key] = end_us, Share(*share)
        return self._by_key


_NONE = (0, NO_SHARE)


_COLUMNS = (
    "rule", "meter", "window", "scope", "window_start_us", "window_end_us", "granted", "ceiling",
    "others_spent", "others_held", "others_free", "room", "as_of_us",
)  # fmt: skip
_PUT = insert("shares", *_COLUMNS).replace("INSERT", "INSERT OR REPLACE", 1)
_ALL = f"SELECT {', '.join(_COLUMNS)} FROM shares"  # noqa: S608 - our own text
_DROP = (
    "DELETE FROM shares WHERE rule = ? AND meter = ? AND window = ? AND scope = ?"
    " AND window_start_us = ?"
)
_HOLDER = "SELECT uid, fleet_id, boot, version, timeline, reported_after FROM holder"
_PUT_HOLDER = (
    "INSERT OR REPLACE INTO holder (id, uid, fleet_id, boot, version, timeline, reported_after)"
    " VALUES (1, ?, ?, ?, ?, ?, ?)"
)
