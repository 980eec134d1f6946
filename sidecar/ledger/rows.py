"""Conversion of decisions, holds, budgets and tariffs to columns and back."""

import json
import sqlite3
from collections.abc import Sequence
from typing import Any

from sidecar.domain.decisions import (
    Budget,
    Hold,
    HoldState,
    Meter,
    Reason,
)
from sidecar.domain.prices import Multipliers, Price, Tariff, Terms
from sidecar.domain.usage import Endpoint, ToolCalls, Usage, tool_calls_of

_to_json = json.JSONEncoder(separators=(",", ":"), ensure_ascii=False).encode


def saturated_sum(expression: str) -> str:
    """Return the SQL of a sum that does not fail above int64, but stays at 2**62 (L7)."""
    high, low = f"sum(({expression}) >> 32)", f"sum(({expression}) & {2**32 - 1})"
    return f"iif({high} < {2**30}, ({high} << 32) + {low}, {2**62})"


LAST_ID = """
SELECT max(coalesce((SELECT max(id) FROM decisions), 0), coalesce((SELECT max(id) FROM denials), 0))
"""
"""The row id of the last decision, allowed or denied; 0 before the first."""


def insert(table: str, *columns: str) -> str:
    """Return the statement that inserts a row with these columns."""
    places = ",".join("?" * len(columns))
    return f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({places})"  # noqa: S608 - ours


def row_id(cursor: sqlite3.Cursor) -> int:
    """Return the id of the row that was just inserted."""
    assert cursor.lastrowid is not None, "an INSERT always has a row id"
    return cursor.lastrowid


def reasons_to_json(reasons: Sequence[Reason]) -> str:
    """Write reasons as a JSON list of objects, named as in the contract."""
    if not reasons:
        return "[]"
    return _to_json(
        [
            {"code": r.code, "message": r.message, "rule": r.rule, "http_status": r.http_status}
            for r in reasons
        ]
    )


def reasons_from_json(text: str) -> tuple[Reason, ...]:
    """Read what reasons_to_json wrote."""
    return tuple(Reason(**entry) for entry in json.loads(text))


def budgets_to_json(budgets: Sequence[Budget]) -> str:
    """Write budgets as JSON lists, which take less space than objects.

    Each is [rule, meter, scope, window_start_us, window_end_us, ceiling, spent, held].
    """
    return _to_json(
        [
            (
                b.rule,
                b.meter,
                b.scope,
                b.window_start_us,
                b.window_end_us,
                b.ceiling,
                b.spent,
                b.held,
            )
            for b in budgets
        ]
    )


def budgets_from_json(text: str) -> tuple[Budget, ...]:
    """Read what budgets_to_json wrote."""
    return tuple(Budget(rule, Meter(meter), *rest) for rule, meter, *rest in json.loads(text))


def amounts_to_json(amounts: Sequence[tuple[int, int, int, int]]) -> str:
    """Write the column `amounts` of a hold, a JSON list of lists in the order of the budgets.

    Each is [budget, held, charge_on_expiry, charged].
    """
    return _to_json(amounts)


def tool_calls_to_json(calls: ToolCalls) -> str:
    """Write tool calls as a JSON object, "" where there are none."""
    return _to_json(dict(calls)) if calls else ""


def tool_calls_from_json(text: str) -> ToolCalls:
    """Read what tool_calls_to_json wrote."""
    return tool_calls_of(json.loads(text)) if text else ()


def tariff_to_json(tariff: Tariff) -> str:
    """Write a tariff as JSON, so that a settlement needs no policy file.

    Units added later are left out when unset, so that an old price stays the same version.
    """
    price, factors = tariff.price, tariff.multipliers
    later = {
        "cached_input_nano_usd_per_million": price.cached_input_nano_usd_per_million,
        "annotated_page_nano_usd_per_thousand": price.annotated_page_nano_usd_per_thousand,
        "character_nano_usd_per_million": price.character_nano_usd_per_million,
        "tool_call_nano_usd_per_thousand": dict(price.tool_call_nano_usd_per_thousand) or None,
    }
    return _to_json(
        {
            "effective_from_us": price.effective_from_us,
            "input_nano_usd_per_million": price.input_nano_usd_per_million,
            "output_nano_usd_per_million": price.output_nano_usd_per_million,
            "page_nano_usd_per_thousand": price.page_nano_usd_per_thousand,
            "audio_nano_usd_per_minute": price.audio_nano_usd_per_minute,
            **{unit: amount for unit, amount in later.items() if amount is not None},
            "multipliers_in_thousandths": {
                "cached_input": factors.cached_input,
                "batch": factors.batch,
                "service_tiers": dict(factors.service_tiers),
                "regions": dict(factors.regions),
            },
        }
    )


def tariff_from_json(price_id: str, text: str) -> Tariff:
    """Read what tariff_to_json wrote."""
    content = json.loads(text)
    multipliers = Multipliers(**content.pop("multipliers_in_thousandths"))
    return Tariff(Price(price_id, **content), multipliers)


HELD = (
    "h.held_input_tokens, h.held_output_tokens, h.held_pages, h.held_audio_seconds,"
    " h.held_characters, h.held_annotated_pages, h.held_tool_calls"
)
"""The worst case of holds h, as held_from_row reads it."""


def held_from_row(row: Sequence[Any]) -> Usage:
    """Read the columns of HELD."""
    input_tokens, output_tokens, pages, audio_seconds, characters, annotated_pages, calls = row
    return Usage(
        input_tokens=input_tokens,
        output_tokens=output_tokens,
        pages=pages,
        audio_seconds=audio_seconds,
        characters=characters,
        annotated_pages=annotated_pages,
        tool_calls=tool_calls_from_json(calls),
    )


HOLD = f"""
SELECT h.hold_id, h.state, d.principal, d.decided_at_us, d.model_requested, d.model,
  d.endpoint, h.service_tier, h.batch, h.region, h.held_cost_nano_usd,
  p.price_id, p.content, {HELD}
FROM holds h JOIN decisions d USING (id) LEFT JOIN prices p ON p.id = h.price
WHERE h.id = ?
"""  # noqa: S608 - our own columns


def hold_from_row(row: tuple[Any, ...]) -> Hold:
    """Read a row of HOLD."""
    (
        hold_id, state, principal_id, opened_at_us, model_requested, model_id, endpoint,
        service_tier, batch, region, cost_nano_usd, price_id, content, *held,
    ) = row  # fmt: skip
    return Hold(
        hold_id=hold_id,
        state=HoldState(state),
        principal_id=principal_id,
        opened_at_us=opened_at_us,
        model_requested=model_requested,
        model_id=model_id,
        endpoint=Endpoint(endpoint),
        most=held_from_row(held),
        terms=Terms(service_tier, bool(batch), region),
        cost_nano_usd=cost_nano_usd,
        tariff=tariff_from_json(price_id, content) if price_id else None,
    )
