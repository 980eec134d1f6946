"""Queries for operators: the open holds, a page at a time."""

import sqlite3

from sidecar.domain.decisions import OpenHold

_PAGE = """
SELECT h.expires_at_us, h.id, h.hold_id, d.principal, d.workspace, d.model,
  h.held_input_tokens + h.held_output_tokens, h.held_cost_nano_usd
FROM holds h JOIN decisions d USING (id)
WHERE h.state = 'open' AND (h.expires_at_us, h.id) > (?, ?)
ORDER BY h.expires_at_us, h.id LIMIT ?
"""


def page(connection: sqlite3.Connection, after: tuple[int, int], at_most: int) -> list[OpenHold]:
    """Return open holds after a position, the first to expire first."""
    found = connection.execute(_PAGE, (*after, at_most))
    return [
        OpenHold((expires_at_us, row), hold_id, principal, workspace, model, tokens, cost_nano_usd)
        for expires_at_us, row, hold_id, principal, workspace, model, tokens, cost_nano_usd in found
    ]


def count(connection: sqlite3.Connection) -> int:
    """Return how many holds are open."""
    (number,) = connection.execute("SELECT count(*) FROM holds WHERE state = 'open'").fetchone()
    return int(number)
