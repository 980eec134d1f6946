"""How limits stand while a group is decided: read once, and written once.

The calls of a group share a transaction, and most of them the same few limits.
L8: this is no second truth. It lives within the transaction, which alone can change
the ledger, and is written before that ends and before anything else happens in it.
"""

import sqlite3
from collections.abc import Iterable
from dataclasses import dataclass

from sidecar.domain.decisions import Limit
from sidecar.domain.windows import Calendar, Span
from sidecar.ledger.balances import Balance, Balances, LedgerTime
from sidecar.ledger.rows import insert, row_id


@dataclass(slots=True)
class _GroupBalance:
    """What a limit's rows come to, with what the group has held since they were read."""

    start_us: int
    spent: int
    held: int
    row: int | None
    ends_us: int | None
    added: int = 0
    ceiling: int | None = None
    window_end_us: int = 0

    def counts(self, span: Span, at_us: int) -> bool:
        """Whether the window is the same still, and none of the rows has ended."""
        return span.start_us == self.start_us and (self.ends_us is None or at_us < self.ends_us)


class GroupBalances(Balances):
    """Standings on the connection that writes, which the calls of a group add to."""

    def __init__(
        self, connection: sqlite3.Connection, calendar: Calendar, time: LedgerTime
    ) -> None:
        """Use what Standings uses."""
        super().__init__(connection, calendar, time)
        self._kept: dict[tuple[str, ...], _GroupBalance] = {}

    def of(self, limit: Limit, at_us: int) -> Balance:
        """Say how a limit stands, with all that the group has held so far."""
        span, kept = self.span(limit.window, at_us), self._kept.get(limit[:4])
        if kept is not None and not kept.counts(span, at_us):
            # Only this one: what was kept of a call's other limits it is about to add to.
            self._write([self._kept.pop(limit[:4])])
            kept = None
        if kept is None:
            kept = _GroupBalance(span.start_us, *self.sums(limit, span, at_us))
            self._kept[limit[:4]] = kept
        return Balance(limit, at_us, span, kept.row, kept.spent, kept.held)

    def hold(self, balance: Balance, amount: int) -> int:
        """Hold an amount in the current window, and return its row in `budgets`."""
        kept = self._kept[balance.limit[:4]]
        if kept.row is None:
            kept.row = self.open_window(balance)
        kept.held += amount
        kept.added += amount
        kept.ceiling, kept.window_end_us = balance.limit.ceiling, balance.span.end_us
        return kept.row

    def open_window(self, balance: Balance) -> int:
        """Make the row of the current window, and return it.

        L8: a new window is a new row; nothing is ever set back to zero.
        """
        limit, span = balance.limit, balance.span
        values = (limit.rule, limit.window.value, limit.meter.value, limit.scope, *span)
        return row_id(self._sql.execute(_INSERT, (*values, limit.ceiling)))

    def wait_us(self, balance: Balance, amount: int) -> int:
        """See Standings.wait_us."""
        self.write()  # it looks at the rows
        return super().wait_us(balance, amount)

    def write(self) -> None:
        """Write what was held, and keep nothing."""
        every = list(self._kept.values())
        self.forget()
        self._write(every)

    def _write(self, every: Iterable[_GroupBalance]) -> None:
        held = [
            (kept.added, kept.ceiling, kept.window_end_us, kept.row)
            for kept in every
            if kept.window_end_us
        ]
        self._sql.executemany(_HOLD, held)

    def forget(self) -> None:
        """Keep nothing: the transaction was rolled back."""
        self._kept.clear()


_INSERT = insert(
    "budgets", "rule", "window", "meter", "scope", "window_start_us", "window_end_us", "ceiling"
)
_HOLD = "UPDATE budgets SET held = held + ?, ceiling = ?, window_end_us = ? WHERE id = ?"
