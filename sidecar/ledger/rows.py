"""Conversion of reasons, budgets, amounts and tariffs to columns and back."""

import json
import sqlite3
from collections.abc import Sequence
from functools import lru_cache

from sidecar.domain.clock import SECOND_US
from sidecar.domain.decisions import Budget, Reason
from sidecar.domain.prices import Multipliers, Price, Tariff
from sidecar.domain.usage import ToolCalls, tool_calls_of
from sidecar.domain.windows import Window

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
    """Write the column `budgets` of a denial, a JSON list of lists.

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


def packed_budgets_to_json(places: Sequence[tuple[int, Window]], budgets: Sequence[Budget]) -> str:
    """Write the column `budgets` of a decision; each budget's row and window are its place.

    It is a JSON list of [budget, seconds, ceiling, spent, held]; the budget's row has the rest. The
    seconds are the length of a window with an end, which the row has as of the latest call.
    """
    return _to_json(
        [
            (row, _length_seconds(window, budget), budget.ceiling, budget.spent, budget.held)
            for (row, window), budget in zip(places, budgets, strict=True)
        ]
    )


def _length_seconds(window: Window, budget: Budget) -> int | None:
    if window is Window.MINUTE or budget.window_start_us is None or budget.window_end_us is None:
        return None
    return (budget.window_end_us - budget.window_start_us) // SECOND_US


def amounts_from_json(text: str) -> Sequence[tuple[int, int, int, int]]:
    """Read what amounts_to_json wrote."""
    amounts: list[tuple[int, int, int, int]] = json.loads(text)
    return amounts


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


@lru_cache(maxsize=256)  # the same tariffs are read for each hold that ends
def tariff_from_json(price_id: str, text: str) -> Tariff:
    """Read what tariff_to_json wrote."""
    content = json.loads(text)
    multipliers = Multipliers(**content.pop("multipliers_in_thousandths"))
    return Tariff(Price(price_id, **content), multipliers)
