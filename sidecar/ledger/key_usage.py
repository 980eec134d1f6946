"""Key usage: decisions counted by the key that they name.

L8: this is no second truth. Maintenance sums up old decisions in a table; the view
`key_usage` adds the decisions since. So a crash loses nothing, a reader in another process
sees every use, and a decision costs no extra write.
"""

import sqlite3
from collections.abc import Iterable

from sidecar.ledger.protocol import MAX_USES_PER_TRANSACTION


class KeyUsage:
    """Counts on one connection, in a transaction of the caller's."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        """Use the connection."""
        self._sql = connection
        self._tracked: set[str] = set()

    def track(self, key_ids: Iterable[str], at_us: int) -> None:
        """Count these keys, too, starting with the first decision not yet counted."""
        new = set(key_ids) - self._tracked
        if not new:
            return
        (first_us,) = self._sql.execute(_FIRST_UNCOUNTED).fetchone()
        since_us = at_us if first_us is None else first_us
        self._sql.executemany(_TRACK, [(key_id, since_us) for key_id in sorted(new)])
        self._tracked |= new

    def forget(self) -> None:
        """Drop the cached keys: a transaction was rolled back."""
        self._tracked.clear()

    def count_through(self, decision: int) -> None:
        """Sum up all decisions up to this one, by its row id: it is about to be deleted."""
        while self._sql.execute(_COUNTED).fetchone()[0] < decision:
            self.count()

    def count(self) -> int:
        """Sum up the oldest decisions not yet counted; return how many."""
        through, number = self._sql.execute(_NEXT, (MAX_USES_PER_TRANSACTION,)).fetchone()
        if number:
            self._sql.execute(_COUNT, (through,))
            self._sql.execute("UPDATE key_usage_until SET decision = ?", (through,))
        return int(number)


def revoked_versions(connection: sqlite3.Connection) -> frozenset[str]:
    """Return the versions that are revoked, as KEY#VERSION."""
    found = connection.execute(
        "SELECT key_id || '#' || version FROM key_versions WHERE state = 'revoked'"
    )
    return frozenset(name for (name,) in found)


_TRACK = "INSERT OR IGNORE INTO key_tracking (key_id, since_us) VALUES (?,?)"
_FIRST_UNCOUNTED = (
    "SELECT min(decided_at_us) FROM (SELECT id, decided_at_us FROM all_decisions"
    " WHERE id > (SELECT decision FROM key_usage_until) ORDER BY id LIMIT 1)"
)
_COUNTED = "SELECT decision FROM key_usage_until"
_NEXT = (
    "SELECT max(id), count(*) FROM (SELECT id FROM all_decisions"
    " WHERE id > (SELECT decision FROM key_usage_until) ORDER BY id LIMIT ?)"
)
_COUNT = """
INSERT INTO key_usage_counted
  (key_id, model, effect, first_used_at_us, last_used_at_us, decisions)
SELECT key_id, model, effect, min(decided_at_us), max(decided_at_us), count(*)
FROM key_usage_uncounted WHERE decision <= ? GROUP BY key_id, model, effect
ON CONFLICT (key_id, model, effect) DO UPDATE SET
  first_used_at_us = min(first_used_at_us, excluded.first_used_at_us),
  last_used_at_us = max(last_used_at_us, excluded.last_used_at_us),
  decisions = decisions + excluded.decisions"""
