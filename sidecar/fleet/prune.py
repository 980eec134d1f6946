"""Pruning of the books: an operator deletes what belongs to windows that ended long ago.

A window that is open, a total and a window without an end keep all of their rows: shares of them
count. A holder goes once it has nothing left.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple
from zoneinfo import ZoneInfo

from sidecar.domain.sharing import TIMELESS
from sidecar.domain.windows import DAY_US, Calendar, Window
from sidecar.fleet.operations import ONE_MOMENT, operate
from sidecar.fleet.session import Session
from sidecar.fleet.spend_report import FleetTime

BATCH_BUDGETS = 500
"""Budgets in one transaction, with all that belongs to them."""
BATCH_ROWS = 5_000
"""Other rows in one transaction."""


class Pruned(NamedTuple):
    """How many rows are deleted of each kind."""

    budgets: int = 0
    shares: int = 0
    adjustments: int = 0
    signatures: int = 0
    """What operators have signed of vanished holders' shares."""
    alerts: int = 0
    spend: int = 0
    holders: int = 0


def first_kept_us(time: FleetTime, days: int) -> int:
    """Return the beginning of the fleet's day so many days ago."""
    calendar = Calendar(ZoneInfo(time.time_zone))
    return calendar.span(Window.DAY, time.now_us - days * DAY_US).start_us


async def prune(url_file: Path, before_us: int) -> Pruned:
    """Delete what ended before a time, in many transactions; return how much that was.

    The time is a day ago or more: calls of a window that has just ended are still settled.
    Raises FleetRefusedError, FleetUnreachableError.
    """
    gone = Pruned()
    while batch := await operate(url_file, lambda session: _budgets(session, before_us)):
        gone = Pruned(*(a + b for a, b in zip(gone, batch, strict=True)))
    return gone._replace(
        alerts=await _rows(url_file, _DELETE_ALERTS, before_us),
        spend=await _rows(url_file, _DELETE_SPEND, before_us),
        holders=await _rows(url_file, _DELETE_HOLDERS, before_us),
    )


async def planned(url_file: Path, before_us: int) -> Pruned:
    """Return what `prune` would delete. Raises as it does."""

    async def work(session: Session) -> Pruned:
        [row] = await session.fetch(_PLANNED, before_us)
        return Pruned(**row)

    return await operate(url_file, work, isolation=ONE_MOMENT)


async def _budgets(session: Session, before_us: int) -> Sequence[int]:
    """Delete some budgets with what belongs to them; return how many rows, or nothing."""
    found = await session.fetch(_SOME_BUDGETS, before_us, BATCH_BUDGETS)
    budgets = [row["id"] for row in found]
    if not budgets:
        return ()
    gone = [await session.fetch(delete, budgets) for delete in _DELETE_OF_BUDGETS]
    return Pruned(len(budgets), *(rows[0]["gone"] for rows in gone[1:]))


async def _rows(url_file: Path, delete: str, before_us: int) -> int:
    """Delete rows until there are none left; return how many."""
    total = 0
    while True:
        [row] = await operate(
            url_file, lambda session: session.fetch(delete, before_us, BATCH_ROWS)
        )
        gone: int = row["gone"]
        total += gone
        if gone < BATCH_ROWS:
            return total


def _delete(table: str, condition: str) -> str:
    """Return the statement that deletes rows, and says how many."""
    return (
        f"WITH gone AS (DELETE FROM {table} WHERE {condition} RETURNING 1)"  # noqa: S608
        " SELECT count(*) AS gone FROM gone"
    )


def _delete_some(table: str, key: str, condition: str) -> str:
    """Return the statement that deletes at most $2 rows, and says how many."""
    some = f"SELECT {key} FROM {table} AS one WHERE {condition} LIMIT $2"  # noqa: S608
    return _delete(table, f"({key}) IN ({some})")


_ENDED = f"""window_end_us <= $1
    AND window_kind NOT IN ({", ".join(f"'{one}'" for one in (*TIMELESS, Window.TOTAL))})"""

_SOME_BUDGETS = f"SELECT id FROM fleet_budget WHERE {_ENDED} LIMIT $2"  # noqa: S608
_DELETE_OF_BUDGETS = (
    _delete("fleet_budget", "id = ANY($1::bytea[])"),
    *(
        _delete(table, "budget = ANY($1::bytea[])")
        for table in ("fleet_share", "fleet_adjustment", "fleet_forgotten")
    ),
)

_OLD_ALERT = "window_end_us <= $1"
_DELETE_ALERTS = _delete_some("fleet_alert", "id", _OLD_ALERT)

_OLD_SPEND = "day_us < $1"
_DELETE_SPEND = _delete_some("fleet_spend", "uid, day_us, id", _OLD_SPEND)

_GONE_HOLDER = f"""seen_us < $1
    AND NOT EXISTS (SELECT 1 FROM fleet_share AS share JOIN fleet_budget AS budget
        ON budget.id = share.budget WHERE share.uid = one.uid AND NOT ({_ENDED}))
    AND NOT EXISTS (SELECT 1 FROM fleet_spend AS spend
        WHERE spend.uid = one.uid AND NOT ({_OLD_SPEND}))"""  # noqa: S608 - constants of our own
_DELETE_HOLDERS = _delete_some("fleet_holder", "uid", _GONE_HOLDER)

_OF_ENDED = f"IN (SELECT id FROM fleet_budget WHERE {_ENDED})"  # noqa: S608
_PLANNED = f"""
SELECT (SELECT count(*) FROM fleet_budget WHERE {_ENDED}) AS budgets,
    (SELECT count(*) FROM fleet_share WHERE budget {_OF_ENDED}) AS shares,
    (SELECT count(*) FROM fleet_adjustment WHERE budget {_OF_ENDED}) AS adjustments,
    (SELECT count(*) FROM fleet_forgotten WHERE budget {_OF_ENDED}) AS signatures,
    (SELECT count(*) FROM fleet_alert WHERE {_OLD_ALERT}) AS alerts,
    (SELECT count(*) FROM fleet_spend WHERE {_OLD_SPEND}) AS spend,
    (SELECT count(*) FROM fleet_holder AS one WHERE {_GONE_HOLDER}) AS holders
"""  # noqa: S608 - constants of our own
