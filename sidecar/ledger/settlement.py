"""Settlement: the ways a hold ends: settled, released or expired."""

import sqlite3
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from sidecar.domain.amounts import AMOUNT_LIMIT
from sidecar.domain.decisions import Charge, HoldState, Limit, Meter, Settlement
from sidecar.domain.prices import MAX_COST_NANO_USD
from sidecar.domain.usage import Usage
from sidecar.domain.windows import Anchor, Window
from sidecar.ledger import rows
from sidecar.ledger.alerts import Alerts
from sidecar.ledger.group_balances import GroupBalances
from sidecar.ledger.ids import read_hold

MAX_PER_TRANSACTION = 100
"""Holds that expire in one transaction: bounds how long other requests wait."""

MAX_SPENT = {False: AMOUNT_LIMIT, True: AMOUNT_LIMIT // 10}
"""The most that one budget row is charged by settlements, so that no sum of rows passes int64 (L7).
No ceiling is higher. By whether its window is a sliding minute, which has up to 61 rows."""


@dataclass(frozen=True, slots=True)
class _Amount:
    """A hold's amounts on one budget row."""

    budget_row: int
    held: int
    charged: int
    spent: int
    """Of the budget row."""
    charge_on_expiry: bool
    limit: Limit


class _Hold(NamedTuple):
    """A hold that is about to end, or has ended."""

    row: int
    state: HoldState
    amounts: list[_Amount]
    """In the order of their budgets, as the hold's row has them."""


class Settlements:
    """Closes holds on one connection, in a transaction of the caller's."""

    def __init__(
        self, connection: sqlite3.Connection, balances: GroupBalances, alerts: Alerts
    ) -> None:
        """Use the connection, and the balances and alerts on it."""
        self._sql = connection
        self._balances = balances
        self._alerts = alerts
        self.closed: Counter[str] = Counter()
        """Holds closed in this transaction: by state, and those with an `overrun` or an
        `unrecognized_usage`."""

    def settle(self, hold_id: str, settlement: Settlement) -> Charge:
        """Charge the real usage, in the windows that the hold was authorized in (L6)."""
        hold = self._hold(hold_id)
        most_nano_usd = _room_nano_usd(hold.amounts)
        settlement = replace(settlement, cost_nano_usd=min(settlement.cost_nano_usd, most_nano_usd))
        actual = {Meter.TOKENS: settlement.used.tokens, Meter.COST: settlement.cost_nano_usd}

        def charge(amount: _Amount) -> int:
            return actual.get(amount.limit.meter, amount.held)

        if hold.state in (HoldState.OPEN, HoldState.EXPIRED):
            amounts = self._move(hold, charge)
            if self._close(hold, HoldState.SETTLED, settlement, amounts):
                self._alerts.overrun(hold.row, settlement.at_us)
        return self._charge(hold, settlement.at_us)

    def release(self, hold_id: str, reason: str, at_us: int) -> Charge:
        """Charge nothing: the call was never sent."""
        hold = self._hold(hold_id)
        if hold.state in (HoldState.OPEN, HoldState.EXPIRED):
            amounts = self._move(hold, lambda _: 0)
            ended = Settlement(Usage(), 0, reason, "", at_us)
            self._close(hold, HoldState.RELEASED, ended, amounts)
        return self._charge(hold, at_us)

    def report_refused(self, hold_id: str, settlement: Settlement) -> None:
        """Report a usage that was refused, as too large."""
        self._alerts.refused_usage(self._hold(hold_id).row, settlement)

    def expire(self, at_us: int) -> int:
        """Close the holds that have expired, charged as each of their limits says (L5)."""
        at_us = self._balances.advance(at_us)
        due = self._sql.execute(_DUE, (at_us, MAX_PER_TRANSACTION)).fetchall()
        for found in due:
            self._alerts.expired(self._expire(found, at_us), at_us)
        return len(due)

    def expire_from(self, at_us: int) -> None:
        """Close the open holds of the decisions after this time, as if they were due.

        It raises no alerts: the operator who corrects the ledger's time knows.
        """
        for found in self._sql.execute(_DECIDED_AFTER, (at_us,)).fetchall():
            self._expire(found, at_us)

    def _expire(self, found: Sequence[Any], at_us: int) -> int:
        """Close a hold, given as a row of _OPEN; return its row id."""
        row, cost_nano_usd, *held = found
        hold = _Hold(row, HoldState.OPEN, self._amounts(row))
        used, charged_cost = _charged_on_expiry(
            rows.held_from_row(held), cost_nano_usd, hold.amounts
        )
        amounts = self._move(hold, lambda amount: amount.held * amount.charge_on_expiry)
        ended = Settlement(used, charged_cost, "unknown", "", at_us)
        self._close(hold, HoldState.EXPIRED, ended, amounts)
        return hold.row

    def _hold(self, hold_id: str) -> _Hold:
        """Read a hold. Raises HoldUnknownError."""
        _, row, state = read_hold(self._sql, _STATE, hold_id)
        return _Hold(row, HoldState(state), self._amounts(row))

    def _amounts(self, row: int) -> list[_Amount]:
        found = self._sql.execute(_AMOUNTS, (row,))
        return [
            _Amount(
                budget_row,
                held,
                charged,
                spent,
                bool(charge_on_expiry),
                Limit(
                    rule, Meter(meter), Window(window), scope, ceiling, anchor=Anchor(*anchor)
                ),
            )
            for budget_row, held, charged, spent, charge_on_expiry, rule, meter, window, scope,
            ceiling, *anchor in found
        ]  # fmt: skip

    def _move(self, hold: _Hold, charge: Callable[[_Amount], int]) -> str:
        """Move a hold's amounts from held to spent, on all of its budget rows (L2).

        Returns the amounts, for the hold's row.
        """
        packed = []
        for amount in hold.amounts:
            # An expired hold is charged already and holds nothing: the difference is added.
            # A concurrent limit counts only open holds: closing one spends nothing.
            charged = 0 if amount.limit.window is Window.CONCURRENT else charge(amount)
            freed = amount.held if hold.state is HoldState.OPEN else 0
            self._balances.close(amount.limit, amount.budget_row, freed, charged - amount.charged)
            packed.append((amount.budget_row, amount.held, int(amount.charge_on_expiry), charged))
        return rows.amounts_to_json(packed)

    def _close(self, hold: _Hold, state: HoldState, settlement: Settlement, amounts: str) -> bool:
        """Record how a hold ended; return whether its call used more than was held."""
        used, cost_nano_usd = settlement.used, settlement.cost_nano_usd
        closed = self._sql.execute(
            "UPDATE holds SET state = ?, closed_at_us = ?, amounts = ?, charged_input_tokens = ?,"
            " charged_output_tokens = ?, charged_cached_input_tokens = ?, charged_pages = ?,"
            " charged_audio_seconds = ?, charged_characters = ?, charged_annotated_pages = ?,"
            " charged_tool_calls = ?, charged_cost_nano_usd = ?, outcome = ?,"
            " response_model = ?, unrecognized_usage = ?, overrun = held_cost_nano_usd < ?"
            "   OR held_input_tokens + held_output_tokens < ? WHERE id = ? RETURNING overrun",
            (
                state,
                self._balances.advance(settlement.at_us),
                amounts,
                used.input_tokens,
                used.output_tokens,
                used.cached_input_tokens,
                used.pages,
                used.audio_seconds,
                used.characters,
                used.annotated_pages,
                rows.tool_calls_to_json(used.tool_calls),
                cost_nano_usd,
                settlement.outcome,
                settlement.response_model,
                settlement.unrecognized_usage,
                cost_nano_usd,
                used.tokens,
                hold.row,
            ),
        )
        overrun = bool(closed.fetchone()[0])
        self.closed[state] += 1
        self.closed["overrun"] += overrun
        self.closed["unrecognized_usage"] += settlement.unrecognized_usage
        return overrun

    def _charge(self, hold: _Hold, at_us: int) -> Charge:
        at_us = self._balances.advance(at_us)
        cost_nano_usd, tokens, overrun, unrecognized_usage = self._sql.execute(
            "SELECT charged_cost_nano_usd, charged_input_tokens + charged_output_tokens, overrun,"
            " unrecognized_usage FROM holds WHERE id = ?",
            (hold.row,),
        ).fetchone()
        budgets = tuple(self._balances.of(amount.limit, at_us).budget() for amount in hold.amounts)
        return Charge(cost_nano_usd, tokens, bool(overrun), budgets, bool(unrecognized_usage))


_STATE = "SELECT hold_id, id, state FROM holds WHERE id = ?"
_AMOUNTS = """
SELECT a.budget, a.held, a.charged, b.spent, a.charge_on_expiry, b.rule, b.meter, b.window, b.scope,
  b.ceiling, b.starts_on, b.starts_at
FROM hold_amounts a JOIN budgets b ON b.id = a.budget WHERE a.hold = ?"""
_OPEN = (
    f"SELECT h.id, h.held_cost_nano_usd, {rows.HELD} FROM holds h"  # noqa: S608 - our own columns
    " WHERE state = 'open'"
)
_DUE = f"{_OPEN} AND expires_at_us <= ? ORDER BY expires_at_us LIMIT ?"
_DECIDED_AFTER = f"{_OPEN} AND (SELECT decided_at_us FROM decisions WHERE id = h.id) > ?"  # noqa: S608 - ours


def _room_nano_usd(amounts: Sequence[_Amount]) -> int:
    """Return the most that budgets of cost can still be charged for a hold: sums saturate."""
    rooms = (
        MAX_SPENT[amount.limit.window is Window.MINUTE] - amount.spent + amount.charged
        for amount in amounts
        if amount.limit.meter is Meter.COST
    )
    return max(0, min(rooms, default=MAX_COST_NANO_USD))


def _charged_on_expiry(
    most: Usage, cost_nano_usd: int, amounts: Sequence[_Amount]
) -> tuple[Usage, int]:
    """Return the usage and cost to charge for an expired hold, as its limits say.

    The cost is charged in full if no limit counts cost. Tokens that no limit counts are
    charged if the cost is.
    """
    cost = _any_charges_on_expiry(amounts, Meter.COST)
    tokens = _any_charges_on_expiry(amounts, Meter.TOKENS)
    if cost is False:
        most = Usage(most.input_tokens, most.output_tokens, most.cached_input_tokens)
        cost_nano_usd = 0
    if tokens is False or (tokens is None and cost is False):
        most = replace(most, input_tokens=0, output_tokens=0, cached_input_tokens=0)
    return most, cost_nano_usd


def _any_charges_on_expiry(amounts: Sequence[_Amount], meter: Meter) -> bool | None:
    """Whether any limit of this meter charges on expiry; None if no limit has this meter."""
    counted = [
        amount.charge_on_expiry
        for amount in amounts
        if amount.limit.meter is meter and amount.limit.window is not Window.CONCURRENT
    ]
    return any(counted) if counted else None
