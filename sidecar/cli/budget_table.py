"""Budgets as a table for people, and as JSON for programs."""

from collections.abc import Sequence
from datetime import UTC
from typing import Any

from mistral_spend.v1 import authorization_pb2 as pb

from sidecar.cli.tables import Table, cell
from sidecar.domain.amounts import format_amount, short_amount
from sidecar.domain.clock import SECOND_US
from sidecar.domain.decisions import Meter
from sidecar.domain.windows import MINUTE_US


def budget_table(budgets: Sequence[pb.Budget], title: str = "") -> Table:
    """Return a table of budgets, a row each."""
    table = Table("limit", "for", title=title)
    for heading in ("ceiling", "spent", "held", "left"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("until (UTC)", no_wrap=True)
    for budget in budgets:
        amounts = (budget.ceiling, budget.spent, budget.held, budget.remaining)
        meter = _meter(budget)
        ceiling, spent, held, left = (short_amount(meter, amount) for amount in amounts)
        if budget.unlimited:
            ceiling = left = "unlimited"
        used_up = not budget.unlimited and not budget.remaining
        shown = cell(left, style="bold red" if used_up else "")
        table.add_row(budget.rule, budget.scope, ceiling, spent, held, shown, _until(budget))
    return table


def budget_dict(budget: pb.Budget) -> dict[str, Any]:
    """Return a budget for JSON; amounts are whole numbers, cost in nano-USD."""
    return {
        "rule": budget.rule,
        "meter": pb.Meter.Name(budget.meter),
        "scope": budget.scope,
        "ceiling": None if budget.unlimited else budget.ceiling,
        "spent": budget.spent,
        "held": budget.held,
        "remaining": None if budget.unlimited else budget.remaining,
        "window_end": budget.window_end.ToJsonString() if budget.HasField("window_end") else None,
    }


def format_budget(budget: pb.Budget) -> tuple[str, str]:
    """Write what is spent of a budget and what is left, with units."""
    meter = _meter(budget)
    return format_amount(meter, budget.spent), format_amount(meter, budget.remaining)


def _meter(budget: pb.Budget) -> Meter:
    return Meter(pb.Meter.Name(budget.meter).removeprefix("METER_").lower())


def _until(budget: pb.Budget) -> str:
    if not budget.HasField("window_start"):
        return "open holds"
    if not budget.HasField("window_end"):
        return "never"
    length = budget.window_end.seconds - budget.window_start.seconds
    if length == MINUTE_US // SECOND_US:
        return "any 60 seconds"
    return budget.window_end.ToDatetime(UTC).strftime("%Y-%m-%d %H:%M")
