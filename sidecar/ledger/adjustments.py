"""Adjustments: signed corrections and one-off grants, as rows of their own, never an edit."""

import sqlite3

from sidecar.domain.decisions import Budget, Limit
from sidecar.domain.windows import CALENDAR, Window
from sidecar.ledger.chain import ADJUSTMENT_COLUMNS, Chain
from sidecar.ledger.group_balances import GroupBalances
from sidecar.ledger.latest_limits import ceiling_of, latest_limit
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
        at_us = self._balances.advance(at_us)
        limit = self._limit(rule, scope, at_us)
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

    def _limit(self, rule: str, scope: str, at_us: int) -> Limit:
        """Return the limit as of the latest call that it counted, with the scope's ceiling."""
        limit = latest_limit(self._sql, rule)
        if limit is None:
            raise NotAdjustableError(f"no call has counted on a limit named {rule}")
        if limit.window not in ADJUSTABLE:
            raise NotAdjustableError(
                f"{rule} has the window {limit.window.value}, which cannot be adjusted"
            )
        limit = limit._replace(scope=scope)
        span = self._balances.span(limit.window, at_us, limit.anchor)
        return limit._replace(ceiling=ceiling_of(self._sql, limit, span))
