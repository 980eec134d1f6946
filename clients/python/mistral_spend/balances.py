"""Balances: the contract's budgets, with None where an amount does not exist."""

from collections.abc import Iterable
from dataclasses import dataclass

from google.protobuf.timestamp_pb2 import Timestamp

from mistral_spend.v1 import authorization_pb2 as pb


@dataclass(frozen=True)
class Balance:
    """The balance of one limit for one scope, in requests, tokens or nano-USD, by its meter.

    An unlimited one has neither `ceiling` nor `remaining`, so a minimum over what is left has
    to skip it. A total is never renewed, and has no `window_end`; a concurrent limit has no window.
    """

    rule: str
    meter: int
    scope: str
    window_start: Timestamp | None
    window_end: Timestamp | None
    ceiling: int | None
    spent: int
    held: int
    remaining: int | None
    unlimited: bool


@dataclass(frozen=True)
class Balances:
    """The balances of a principal."""

    budgets: tuple[Balance, ...]
    answer: pb.GetBudgetsResponse
    """The sidecar's whole response."""


def balances(budgets: Iterable[pb.Budget]) -> tuple[Balance, ...]:
    """Convert the contract's budgets."""
    return tuple(_balance(budget) for budget in budgets)


def _balance(budget: pb.Budget) -> Balance:
    return Balance(
        rule=budget.rule,
        meter=budget.meter,
        scope=budget.scope,
        window_start=budget.window_start if budget.HasField("window_start") else None,
        window_end=budget.window_end if budget.HasField("window_end") else None,
        ceiling=None if budget.unlimited else budget.ceiling,
        spent=budget.spent,
        held=budget.held,
        remaining=None if budget.unlimited else budget.remaining,
        unlimited=budget.unlimited,
    )
