"""Balances cached for one group commit: read once, and written once.

The calls of a group share a transaction, and most of them the same few limits.
L8: this is no second truth. The cache lives within the one transaction that can change
the ledger, and is written before it ends, and before rows of budgets are read in another way.
"""

import sqlite3
from collections.abc import Iterable
from dataclasses import dataclass

from sidecar.domain.decisions import Limit, Meter
from sidecar.domain.sharing import Share
from sidecar.domain.windows import Anchor, Calendar, Span, Window
from sidecar.ledger.balances import Balance, Balances, LedgerTime, Sums
from sidecar.ledger.rows import insert, row_id

_Key = tuple[str, Meter, Window, str]
"""Rule, meter, window and scope, which limits that share a balance have in common; ceilings and
anchors may differ from call to call."""


def _key(limit: Limit) -> _Key:
    return limit[:4]


@dataclass(slots=True)
class GroupBalance:
    """The sums of a limit's rows, with what the group has held since they were read.

    The fields from `spent` to `ends_us` are those of Sums, in its order.
    """

    start_us: int
    spent: int
    held: int
    row: int | None
    ends_us: int | None
    added: int = 0
    holds: int = 0
    """How many holds the group has added."""
    largest: int = 0
    """The largest of them."""
    limit: Limit | None = None
    """That of the last; None until a call of the group holds something."""
    window_end_us: int = 0
    counted_at_us: int = 0
    share: Share | None = None
    """What this ledger may use of the limit, in a fleet."""

    def counts(self, span: Span, at_us: int) -> bool:
        """Whether the sums are still valid: same window, and no row has stopped counting."""
        return span.start_us == self.start_us and (self.ends_us is None or at_us < self.ends_us)


@dataclass(slots=True)
class BudgetRow:
    """A row of `budgets` in which holds of the group end."""

    row: int
    limit: Limit
    span: Span
    spent: int
    """With what the group has charged."""
    freed: int = 0
    charged: int = 0
    """What the group has freed and charged, and not written yet."""


class GroupBalances(Balances):
    """Balances on the writer's connection, to which the calls of a group add."""

    def __init__(
        self, connection: sqlite3.Connection, calendar: Calendar, time: LedgerTime
    ) -> None:
        """See Balances."""
        super().__init__(connection, calendar, time)
        self._cached: dict[_Key, GroupBalance] = {}
        self._rows: dict[int, BudgetRow] = {}

    def of(self, limit: Limit, at_us: int) -> Balance:
        """Return a limit's balance, with all that the group has held so far."""
        span = self.span(limit.window, at_us, limit.anchor)
        cached = self.cached(limit, span, at_us)
        return Balance(limit, at_us, span, cached.row, cached.spent, cached.held)

    def cached(self, limit: Limit, span: Span, at_us: int) -> GroupBalance:
        """Return a limit's sums in its current window, which are read if they are not cached."""
        key = _key(limit)
        cached = self._cached.get(key)
        if cached is not None and not cached.counts(span, at_us):
            # Only this one: the call is about to add to the others that it has read.
            self._write([self._cached.pop(key)])
            cached = None
        if cached is None:
            cached = GroupBalance(span.start_us, *self.sums(limit, span, at_us))
            self._cached[key] = cached
        return cached

    def hold(self, balance: Balance, amount: int) -> int:
        """Hold an amount in the current window; return the window's row in `budgets`."""
        cached = self._cached[_key(balance.limit)]
        if cached.row is None:
            cached.row = self.open_window(balance)
        cached.held += amount
        cached.added += amount
        cached.holds += 1
        cached.largest = max(cached.largest, amount)
        cached.limit, cached.window_end_us = balance.limit, balance.span.end_us
        cached.counted_at_us = balance.at_us
        return cached.row

    def sums(self, limit: Limit, span: Span, at_us: int) -> Sums:
        """See Balances.sums."""
        self._write_closed()  # the rows are read next
        return super().sums(limit, span, at_us)

    def budget_row(self, row: int) -> BudgetRow:
        """Return a row of `budgets`, by its id."""
        budget = self._rows.get(row)
        if budget is None:
            found = self._sql.execute(_ROW, (row,)).fetchone()
            rule, meter, window, scope, ceiling, spent, day, hour, *span = found
            anchor = Anchor(day, hour)
            limit = Limit(rule, Meter(meter), Window(window), scope, ceiling, anchor=anchor)
            budget = self._rows[row] = BudgetRow(row, limit, Span(*span), spent)
        return budget

    def close(self, budget: BudgetRow, freed: int, charged: int) -> None:
        """Move what a hold had of a row in `budgets` from held to spent: it is charged there."""
        budget.freed += freed
        budget.charged += charged
        budget.spent += charged
        key = _key(budget.limit)
        cached = self._cached.get(key)
        if cached is not None and cached.row == budget.row:
            cached.held -= freed
            cached.spent += charged
        elif cached is not None:  # a row of an earlier window, which may count, too
            self._write([self._cached.pop(key)])

    def open_window(self, balance: Balance) -> int:
        """Insert the row of the current window, and return its id.

        L8: a new window is a new row; nothing is ever set back to zero.
        """
        limit, span = balance.limit, balance.span
        values = (limit.rule, limit.window.value, limit.meter.value, limit.scope, *span)
        return row_id(self._sql.execute(_INSERT, (*values, limit.ceiling, *limit.anchor)))

    def wait_us(self, balance: Balance, amount: int) -> int:
        """See Balances.wait_us."""
        self.write()  # the rows are read next
        return super().wait_us(balance, amount)

    def write(self) -> None:
        """Write what was held and closed, and empty the cache."""
        if self._cached:
            self._write(self._cached.values())
        if self._rows:
            self._write_closed()
        self.forget()

    def _write(self, balances: Iterable[GroupBalance]) -> None:
        held = [
            (
                cached.added,
                cached.holds,
                cached.limit.ceiling,
                cached.window_end_us,
                *cached.limit.anchor,
                cached.counted_at_us,
                cached.row,
            )
            for cached in balances
            if cached.limit is not None
        ]
        self._sql.executemany(_HOLD, held)

    def _write_closed(self) -> None:
        closed = [budget for budget in self._rows.values() if budget.freed or budget.charged]
        self._sql.executemany(_CLOSE, [(one.freed, one.charged, one.row) for one in closed])
        for budget in closed:
            budget.freed = budget.charged = 0

    def forget(self) -> None:
        """Empty the cache, as after a rollback."""
        self._cached.clear()
        self._rows.clear()


_INSERT = insert(
    "budgets",
    "rule",
    "window",
    "meter",
    "scope",
    "window_start_us",
    "window_end_us",
    "ceiling",
    "starts_on",
    "starts_at",
)
_ROW = (
    "SELECT rule, meter, window, scope, ceiling, spent, starts_on, starts_at, window_start_us,"
    " window_end_us FROM budgets WHERE id = ?"
)
_CLOSE = "UPDATE budgets SET held = held - ?, spent = spent + ? WHERE id = ?"
# After a correction of the time, a second may have later admissions than this one.
_HOLD = (
    "UPDATE budgets SET held = held + ?, holds = holds + ?, ceiling = ?,"
    " window_end_us = max(?, iif(window = 'minute', window_end_us, 0)), starts_on = ?,"
    " starts_at = ?, counted_at_us = ? WHERE id = ?"
)
