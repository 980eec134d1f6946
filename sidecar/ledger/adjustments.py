"""Adjustments: signed corrections and one-off grants, as rows of their own, never an edit."""

import sqlite3

from sidecar.domain.decisions import Budget, Limit, Meter
from sidecar.domain.windows import CALENDAR, Anchor, Window
from sidecar.ledger.chain import ADJUSTMENT_COLUMNS, Chain
from sidecar.ledger.group_balances import GroupBalances
from sidecar.ledger.protocol import NotAdjustableError
from sidecar.ledger.rows import insert

ADJUSTABLE = (*CALENDAR, Window.TOTAL)

_INSERT = insert("adjustments", *ADJUSTMENT_COLUMNS, "chain")


class Adjustments:
    """Writes adjustments on one connection, in a transaction of the caller's."""

    def __init__(self, connection: sqlite3.Connection, balances: GroupBalances) -> None:
        """Use the connection, and the balances on it."""
        self._sql = connection
        self._balances = balances
        self._chain = Chain(connection, "adjustments")

    def adjust(
        self, rule: str, scope: str, amount: int, signed_by: str, reason: str, at_us: int
    ) -> Budget:
        """Add an amount to the current window's spend; a negative one adds room.

        Raises NotAdjustableError when no call has counted on the rule, or when its window is
        a sliding minute or concurrent.
        """
        limit = self._limit(rule, scope)
        at_us = self._balances.advance(at_us)
        balance = self._balances.of(limit, at_us)
        row = balance.row or self._balances.open_window(balance)
        self._sql.execute(
            "UPDATE budgets SET spent = spent + ?, window_end_us = ? WHERE id = ?",
            (amount, balance.span.end_us, row),
        )
        self._balances.write()  # drops what was read before
        values = (at_us, row, amount, signed_by, reason)
        self._sql.execute(_INSERT, (*values, self._chain.link(values)))
        return self._balances.of(limit, at_us).budget()

    def forget(self) -> None:
        """Drop the cached end of the chain: a transaction was rolled back."""
        self._chain.forget()

    def _limit(self, rule: str, scope: str) -> Limit:
        """Return the limit as of the latest call that it counted, for this scope if possible."""
        found = self._sql.execute(
            "SELECT meter, window, CASE WHEN scope = ?2 THEN ceiling END, starts_on, starts_at"
            " FROM budgets WHERE rule = ?1 ORDER BY scope = ?2 DESC, id DESC LIMIT 1",
            (rule, scope),
        ).fetchone()
        if found is None:
            raise NotAdjustableError(f"no call has counted on a limit named {rule}")
        meter, window, ceiling, anchor = Meter(found[0]), Window(found[1]), found[2], found[3:]
        if window not in ADJUSTABLE:
            raise NotAdjustableError(
                f"{rule} has the window {window.value}, which cannot be adjusted"
            )
        return Limit(rule, meter, window, scope, ceiling, anchor=Anchor(*anchor))
