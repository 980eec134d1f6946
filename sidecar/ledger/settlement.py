"""Settlement: the ways a hold ends: settled, released or expired."""

import sqlite3
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import NamedTuple

from sidecar.domain.amounts import AMOUNT_LIMIT
from sidecar.domain.decisions import Charge, Hold, HoldState, Limit, Meter, Settlement
from sidecar.domain.prices import MAX_COST_NANO_USD
from sidecar.domain.usage import Usage
from sidecar.domain.windows import Window
from sidecar.ledger import holds, rows
from sidecar.ledger.alerts import Alerts
from sidecar.ledger.group_balances import BudgetRow, GroupBalances
from sidecar.ledger.holds import HoldRow
from sidecar.ledger.protocol import HoldUnknownError

MAX_PER_TRANSACTION = 100
"""Holds that expire in one transaction: bounds how long other requests wait."""

MAX_SPENT = {False: AMOUNT_LIMIT, True: AMOUNT_LIMIT // 10}
"""The most that one budget row is charged by settlements, so that no sum of rows passes int64 (L7).
No ceiling is higher. By whether its window is a sliding minute, which has up to 61 rows."""


class _Amount(NamedTuple):
    """A hold's amounts on one budget row."""

    budget: BudgetRow
    held: int
    charge_on_expiry: bool
    charged: int

    @property
    def limit(self) -> Limit:
        """The limit that the row counts for."""
        return self.budget.limit


class Settling(NamedTuple):
    """A hold that is about to be settled."""

    found: HoldRow
    settlement: Settlement


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

    def read(self, hold_id: str, owner: str) -> HoldRow:
        """Read a hold. Raises HoldUnknownError, also if it belongs to another than the owner."""
        found = holds.read_hold(self._sql, hold_id)
        if owner and found.hold.principal_id != owner:
            raise HoldUnknownError
        return found

    def prepare(
        self, hold_id: str, owner: str, settlement_of: Callable[[Hold], Settlement]
    ) -> Settling:
        """Read a hold, and how it is settled. Raises HoldUnknownError, and what that raises."""
        found = self.read(hold_id, owner)
        return Settling(found, settlement_of(found.hold))

    def settle(self, settling: Settling) -> Charge:
        """Charge the real usage, in the windows that the hold was authorized in (L6)."""
        found, settlement = settling
        amounts = self._amounts(found)
        if settlement.refused:
            self._alerts.refused_usage(found.row, settlement)
        elif found.hold.state in (HoldState.OPEN, HoldState.EXPIRED):
            cost_nano_usd = min(settlement.cost_nano_usd, _room_nano_usd(amounts))
            settlement = replace(settlement, cost_nano_usd=cost_nano_usd)
            actual = {Meter.TOKENS: settlement.used.tokens, Meter.COST: cost_nano_usd}
            charged = self._move(found, amounts, lambda it: actual.get(it.limit.meter, it.held))
            found = self._close(found, HoldState.SETTLED, settlement, charged)
            if found.overrun:
                self._alerts.overrun(found.row, settlement.at_us)
        return self._charge(found, amounts, settlement.at_us)

    def release(self, found: HoldRow, reason: str, at_us: int) -> Charge:
        """Charge nothing: the call was never sent."""
        amounts = self._amounts(found)
        if found.hold.state in (HoldState.OPEN, HoldState.EXPIRED):
            charged = self._move(found, amounts, lambda _: 0)
            ended = Settlement(Usage(), 0, reason, "", at_us)
            found = self._close(found, HoldState.RELEASED, ended, charged)
        return self._charge(found, amounts, at_us)

    def expire(self, at_us: int) -> int:
        """Close the holds that have expired, charged as each of their limits says (L5)."""
        at_us = self._balances.advance(at_us)
        due = holds.due(self._sql, at_us, MAX_PER_TRANSACTION)
        for found in due:
            self._expire(found, at_us)
            self._alerts.expired(found.row, at_us)
        return len(due)

    def expire_from(self, at_us: int) -> None:
        """Close the open holds of the decisions after this time, as if they were due.

        It raises no alerts: the operator who corrects the ledger's time knows.
        """
        for found in holds.decided_after(self._sql, at_us):
            self._expire(found, at_us)

    def _expire(self, found: HoldRow, at_us: int) -> None:
        amounts = self._amounts(found)
        used, cost_nano_usd = _charged_on_expiry(found.hold, amounts)
        charged = self._move(found, amounts, lambda it: it.held * it.charge_on_expiry)
        ended = Settlement(used, cost_nano_usd, "unknown", "", at_us)
        self._close(found, HoldState.EXPIRED, ended, charged)

    def _amounts(self, found: HoldRow) -> list[_Amount]:
        return [
            _Amount(self._balances.budget_row(budget), held, bool(charge_on_expiry), charged)
            for budget, held, charge_on_expiry, charged in found.amounts
        ]

    def _move(
        self, found: HoldRow, amounts: Sequence[_Amount], charge: Callable[[_Amount], int]
    ) -> str:
        """Move a hold's amounts from held to spent, on all of its budget rows (L2).

        Returns the amounts, for the hold's row.
        """
        packed = []
        for amount in amounts:
            # An expired hold is charged already and holds nothing: the difference is added.
            # A concurrent limit counts only open holds: closing one spends nothing.
            charged = 0 if amount.limit.window is Window.CONCURRENT else charge(amount)
            freed = amount.held if found.hold.state is HoldState.OPEN else 0
            self._balances.close(amount.budget, freed, charged - amount.charged)
            packed.append((amount.budget.row, amount.held, int(amount.charge_on_expiry), charged))
        return rows.amounts_to_json(packed)

    def _close(
        self, found: HoldRow, state: HoldState, settlement: Settlement, amounts: str
    ) -> HoldRow:
        """Record how a hold ended; return it with what it is charged."""
        used, cost_nano_usd, hold = settlement.used, settlement.cost_nano_usd, found.hold
        overrun = cost_nano_usd > hold.cost_nano_usd or used.tokens > hold.most.tokens
        self._sql.execute(
            _CLOSE,
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
                overrun,
                found.row,
            ),
        )
        self.closed[state] += 1
        self.closed["overrun"] += overrun
        self.closed["unrecognized_usage"] += settlement.unrecognized_usage
        return found._replace(
            cost_nano_usd=cost_nano_usd,
            tokens=used.tokens,
            overrun=overrun,
            unrecognized_usage=settlement.unrecognized_usage,
        )

    def _charge(self, found: HoldRow, amounts: Sequence[_Amount], at_us: int) -> Charge:
        at_us = self._balances.advance(at_us)
        budgets = tuple(self._balances.of(amount.limit, at_us).budget() for amount in amounts)
        return Charge(
            found.cost_nano_usd, found.tokens, found.overrun, budgets, found.unrecognized_usage
        )


_CLOSE = (
    "UPDATE holds SET state = ?, closed_at_us = ?, amounts = ?, charged_input_tokens = ?,"
    " charged_output_tokens = ?, charged_cached_input_tokens = ?, charged_pages = ?,"
    " charged_audio_seconds = ?, charged_characters = ?, charged_annotated_pages = ?,"
    " charged_tool_calls = ?, charged_cost_nano_usd = ?, outcome = ?, response_model = ?,"
    " unrecognized_usage = ?, overrun = ? WHERE id = ?"
)


def _room_nano_usd(amounts: Sequence[_Amount]) -> int:
    """Return the most that budgets of cost can still be charged for a hold: sums saturate."""
    rooms = (
        MAX_SPENT[amount.limit.window is Window.MINUTE] - amount.budget.spent + amount.charged
        for amount in amounts
        if amount.limit.meter is Meter.COST
    )
    return max(0, min(rooms, default=MAX_COST_NANO_USD))


def _charged_on_expiry(hold: Hold, amounts: Sequence[_Amount]) -> tuple[Usage, int]:
    """Return the usage and cost to charge for an expired hold, as its limits say.

    The cost is charged in full if no limit counts cost. Tokens that no limit counts are
    charged if the cost is.
    """
    most, cost_nano_usd = hold.most, hold.cost_nano_usd
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
