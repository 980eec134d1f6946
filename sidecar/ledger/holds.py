"""Holds as their rows have them, and how they are found."""

import hmac
import sqlite3
from collections.abc import Sequence
from typing import Any, NamedTuple

from sidecar.domain.decisions import Hold, HoldState
from sidecar.domain.prices import Terms
from sidecar.domain.usage import Endpoint, Usage
from sidecar.ledger.ids import row_of
from sidecar.ledger.protocol import HoldUnknownError
from sidecar.ledger.rows import amounts_from_json, tariff_from_json, tool_calls_from_json


class HoldRow(NamedTuple):
    """A hold, its amounts, and what it was charged, which is 0 while it is open."""

    row: int
    hold: Hold
    amounts: Sequence[tuple[int, int, int, int]]
    """As amounts_to_json has them."""
    cost_nano_usd: int
    tokens: int
    overrun: bool
    unrecognized_usage: bool


def read_hold(connection: sqlite3.Connection, hold_id: str) -> HoldRow:
    """Return a hold. Raises HoldUnknownError."""
    found = connection.execute(_BY_ROW, (row_of(connection, hold_id),)).fetchone()
    # In constant time: a caller that knows the row id cannot find the random part digit by digit.
    if found is None or not hmac.compare_digest(found[0].encode(), hold_id.encode()):
        raise HoldUnknownError
    return _hold_row(found)


def due(connection: sqlite3.Connection, at_us: int, at_most: int) -> list[HoldRow]:
    """Return open holds that expire at this time or before, the first to expire first."""
    return list(map(_hold_row, connection.execute(_DUE, (at_us, at_most)).fetchall()))


def decided_after(connection: sqlite3.Connection, at_us: int) -> list[HoldRow]:
    """Return the open holds of decisions after this time."""
    return list(map(_hold_row, connection.execute(_DECIDED_AFTER, (at_us,)).fetchall()))


_HOLD = """
SELECT h.hold_id, h.state, d.principal, d.decided_at_us, d.model_requested, d.model,
  d.endpoint, h.service_tier, h.batch, h.region, h.held_cost_nano_usd, p.price_id, p.content,
  h.held_input_tokens, h.held_output_tokens, h.held_pages, h.held_audio_seconds,
  h.held_characters, h.held_annotated_pages, h.held_tool_calls,
  h.id, h.amounts, h.charged_cost_nano_usd, h.charged_input_tokens + h.charged_output_tokens,
  h.overrun, h.unrecognized_usage
FROM holds h JOIN decisions d USING (id) LEFT JOIN prices p ON p.id = h.price"""
_BY_ROW = f"{_HOLD} WHERE h.id = ?"
_OPEN = f"{_HOLD} WHERE h.state = 'open'"
_DUE = f"{_OPEN} AND h.expires_at_us <= ? ORDER BY h.expires_at_us LIMIT ?"
_DECIDED_AFTER = f"{_OPEN} AND d.decided_at_us > ?"


def _hold_row(found: Sequence[Any]) -> HoldRow:
    (
        hold_id, state, principal_id, opened_at_us, model_requested, model_id, endpoint,
        service_tier, batch, region, held_cost_nano_usd, price_id, content,
        input_tokens, output_tokens, pages, audio_seconds, characters, annotated_pages, tool_calls,
        row, amounts, cost_nano_usd, tokens, overrun, unrecognized_usage,
    ) = found  # fmt: skip
    hold = Hold(
        hold_id=hold_id,
        state=HoldState(state),
        principal_id=principal_id,
        opened_at_us=opened_at_us,
        model_requested=model_requested,
        model_id=model_id,
        endpoint=Endpoint(endpoint),
        most=Usage(
            input_tokens=input_tokens,
            output_tokens=output_tokens,
            pages=pages,
            audio_seconds=audio_seconds,
            characters=characters,
            annotated_pages=annotated_pages,
            tool_calls=tool_calls_from_json(tool_calls),
        ),
        terms=Terms(service_tier, bool(batch), region),
        cost_nano_usd=held_cost_nano_usd,
        tariff=tariff_from_json(price_id, content) if price_id else None,
    )
    return HoldRow(
        row,
        hold,
        amounts_from_json(amounts),
        cost_nano_usd,
        tokens,
        bool(overrun),
        bool(unrecognized_usage),
    )
