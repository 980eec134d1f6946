"""Retention: old decisions are pruned, and what their holds were charged is kept in sums.

A budget's opening balance is the sum of what its pruned holds were charged. So a window of
any length keeps what it counts, and the file keeps no call longer than the retention.
"""

import itertools
import sqlite3

from sidecar.ledger.balances import Balances
from sidecar.ledger.chain import DecisionChain
from sidecar.ledger.key_usage import KeyUsage

MAX_DECISIONS = 100
"""Decisions that are pruned in one transaction: bounds how long other requests wait."""


class Retention:
    """Prunes on one connection, in a transaction of the caller's."""

    def __init__(
        self,
        connection: sqlite3.Connection,
        balances: Balances,
        chain: DecisionChain,
        key_usage: KeyUsage,
    ) -> None:
        """Use the connection, the balances' time, and the chain that records each pruning.

        What is pruned is counted in the usage of keys first (U1).
        """
        self._sql = connection
        self._advance = balances.advance
        self._chain = chain
        self._key_usage = key_usage

    def prune(self, at_us: int, retention_us: int) -> int:
        """Delete decisions whose hold, if any, was closed before the retention; return how many.

        The latest decision always stays: it carries the ledger's time (L9). Denials are pruned
        by themselves, but for those of before version 0015.
        """
        now_us = self._advance(at_us)
        before_us = now_us - retention_us
        oldest = self._sql.execute(_OLDEST, (MAX_DECISIONS, before_us, now_us))
        # The chain that is left may have no gap, so the oldest go first.
        gone = [row for row, _ in itertools.takewhile(lambda row: row[1], oldest)]
        if not gone:
            return 0
        last = gone[-1]
        link = self._chain.link_of(last)
        self._key_usage.count_through(last)
        for statement in _FOLD:
            self._sql.execute(statement, (last,))
        self._sql.execute(_DELETE_BUDGETS, (before_us,))
        self._chain.prune(last, link, before_us)
        return len(gone)


# What was decided or closed before a correction of the time is older than that, though its own time
# may be after now. `corrected` is the last decision before a correction that is past the retention.
_OLDEST = """
SELECT d.id, d.id < (SELECT max(id) FROM decisions)
  AND (d.decided_at_us < ?2 OR d.id <= corrected)
  AND (h.id IS NULL OR h.state <> 'open'
    AND (h.closed_at_us < ?2 OR d.id <= corrected AND h.closed_at_us > ?3))
FROM (SELECT id, decided_at_us FROM decisions ORDER BY id LIMIT ?1) d
JOIN (SELECT max(follows) AS corrected FROM time_corrections WHERE to_us < ?2)
LEFT JOIN holds h USING (id) ORDER BY d.id"""

# L2: a budget's spend stays what it was; its opening balance takes the place of the holds. Holds
# that are closed have left concurrent limits already, which have no opening balance.
_FOLD = (
    """UPDATE budgets SET holds = holds - pruned,
      opening = iif(window = 'concurrent', NULL, coalesce(opening, 0) + charged)
      FROM (SELECT budget, count(*) AS pruned, sum(charged) AS charged FROM hold_amounts
        WHERE hold <= ?1 GROUP BY budget)
      WHERE id = budget""",
    "DELETE FROM holds WHERE id <= ?1",
    "DELETE FROM decisions WHERE id <= ?1",
)

# A budget whose window has ended goes with the last of its holds.
_DELETE_BUDGETS = """
DELETE FROM budgets WHERE opening IS NOT NULL AND window_end_us < ?1 AND holds = 0
  AND NOT EXISTS (SELECT 1 FROM adjustments WHERE budget = budgets.id)"""
