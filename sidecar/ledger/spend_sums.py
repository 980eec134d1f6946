"""Sums of what calls were charged, by names and days, from a snapshot of a ledger."""

import sqlite3
from bisect import bisect_right
from collections.abc import Sequence
from datetime import tzinfo

from sidecar.domain.clock import format_date
from sidecar.domain.spend_report import OTHERS, Dimension, Spend, spend_rows
from sidecar.domain.windows import Span
from sidecar.ledger.rows import saturated_sum

_COLUMNS = {
    Dimension.WORKSPACE: "d.workspace",
    Dimension.ROLE: "d.role",
    Dimension.PRINCIPAL: "d.principal",
    Dimension.MODEL: "d.model",
    Dimension.KEY: "d.key_id",
    Dimension.RULE: "coalesce(b.rule, '')",
    Dimension.DAY: "day_of(d.decided_at_us)",
}

_SPENT = """h.state IN ('settled', 'expired') AND h.id > :after
  AND d.decided_at_us >= :start_us AND d.decided_at_us < :end_us"""

_LARGEST = f"""iif(d.principal IN (
  SELECT d.principal FROM holds h JOIN decisions d USING (id) WHERE {_SPENT} GROUP BY 1
  ORDER BY {saturated_sum("h.charged_cost_nano_usd")} DESC, 1 LIMIT :most), d.principal, :others)
"""  # noqa: S608 - our own columns

# The amounts of each hold, as the view hold_amounts has them: SQLite would read all of a view
# first, to join it with calls that no limit counts.
_PER_LIMIT = " LEFT JOIN json_each(h.amounts) a LEFT JOIN budgets b ON b.id = a.value ->> 0"

# A limit that releases on expiry was charged nothing for an expired call, even if others were.
_COST_OF_LIMIT = """CASE WHEN b.meter = 'cost' AND b.window <> 'concurrent'
  THEN a.value ->> 3 ELSE h.charged_cost_nano_usd END"""
_TOKENS_OF_LIMIT = """(h.state <> 'expired' OR b.id IS NULL OR b.meter <> 'tokens'
  OR b.window = 'concurrent' OR a.value ->> 2)"""

_AT_ROW = "SELECT id, decided_at_us FROM decisions WHERE id <= ? ORDER BY id DESC LIMIT 1"


def spend_sums(
    connection: sqlite3.Connection,
    zone: tzinfo,
    by: Sequence[Dimension],
    days: Sequence[Span],
    *,
    max_principals: int | None = None,
    after: int = 0,
) -> list[Spend]:
    """Return the spend of these days, by cost descending; by names when divided by day.

    Of the principals only the largest have their name, if there is a bound; the others count
    as OTHERS. Only decisions after a row.
    """
    starts = [day.start_us for day in days]
    dates = [format_date(start_us, zone) for start_us in starts]
    connection.create_function("day_of", 1, lambda us: dates[bisect_right(starts, us) - 1])
    columns = [_COLUMNS[dimension] for dimension in (*by, Dimension.DAY)]
    if max_principals is not None:
        columns = [_LARGEST if column == "d.principal" else column for column in columns]
    by_rule = Dimension.RULE in by
    tokens = _TOKENS_OF_LIMIT if by_rule else "1"
    cost = _COST_OF_LIMIT if by_rule else "h.charged_cost_nano_usd"
    unknown = f"(h.state = 'expired') * (h.held_cost_nano_usd - {cost})"
    found = connection.execute(
        f"SELECT {', '.join(columns)}, count(*),"  # noqa: S608 - our own columns
        f" {saturated_sum(f'h.charged_input_tokens * {tokens}')},"
        f" {saturated_sum(f'h.charged_output_tokens * {tokens}')},"
        f" {saturated_sum(cost)}, sum(h.overrun), sum(h.state = 'expired'),"
        f" {saturated_sum(unknown)}"
        f" FROM holds h JOIN decisions d USING (id){_PER_LIMIT if by_rule else ''}"
        f" WHERE {_SPENT} GROUP BY {', '.join(columns)}",
        {
            "after": max(after, last_before(connection, days[0].start_us)),
            "start_us": days[0].start_us,
            "end_us": days[-1].end_us,
            "most": max_principals,
            "others": OTHERS,
        },
    )
    return spend_rows(found, by, dates)


def last_before(connection: sqlite3.Connection, at_us: int) -> int:
    """Return the last row that was decided before a time, as all rows before it were.

    Rows are in the order of time, unless the time was corrected: then it is 0, and all are read.
    """
    if connection.execute("SELECT 1 FROM time_corrections LIMIT 1").fetchone():
        return 0
    low = 0
    (high,) = connection.execute("SELECT coalesce(max(id), 0) FROM decisions").fetchone()
    while low < high:
        middle = (low + high + 1) // 2
        row = connection.execute(_AT_ROW, (middle,)).fetchone()
        if row is None or row[1] < at_us:
            low = middle
        else:
            high = row[0] - 1
    return low
