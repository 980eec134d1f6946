"""Time corrections: the ledger's time, which is far ahead of the clock, is set back to it.

L9: no budget is given twice. Budgets are rows of windows, and a correction changes none of them:
what a window had spent before counts again when the time is back in it, and what was spent in a
window that lies ahead now counts when the time is there. Where such rows may have been pruned, the
time is not set back.
"""

import os
import sqlite3
from collections.abc import Callable
from datetime import UTC
from pathlib import Path
from typing import NamedTuple

from sidecar.domain.clock import format_time
from sidecar.domain.windows import Calendar
from sidecar.ledger import chain, ledger_file
from sidecar.ledger.alerts import Alerts
from sidecar.ledger.balances import LedgerTime
from sidecar.ledger.group_balances import GroupBalances
from sidecar.ledger.protocol import LedgerRefusedError
from sidecar.ledger.rows import LAST_ID, insert
from sidecar.ledger.settlement import Settlements


class TimeCorrection(NamedTuple):
    """What a correction of the ledger's time changes."""

    from_us: int
    to_us: int
    decisions: int
    """Made after the new time, denials among them."""
    open_holds: int
    """Of these decisions: they expire, because their own time to do so is far away."""


def correct_time(
    ledger: Path,
    to_us: int,
    signed_by: str,
    reason: str,
    confirm: Callable[[TimeCorrection], object],
) -> bool:
    """Set back the time of a ledger that no sidecar uses; return False if it is not ahead.

    Calls `confirm` with what is about to change; if that raises, nothing does. It is one
    transaction. Raises LedgerRefusedError, also if budgets that would count again are gone.
    """
    path = ledger_file.canonical_path(ledger)
    with ledger_file.sole_writer(path) as connection:
        planned = _planned(ledger, connection, to_us)
        if planned is None:
            return False
        confirm(planned)
        try:
            connection.execute("BEGIN IMMEDIATE")
            _correct(connection, planned, signed_by, reason)
            connection.execute("COMMIT")
        except sqlite3.Error as error:
            raise LedgerRefusedError(f"{ledger}: its time was not set back: {error}") from None
        return True


def _planned(ledger: Path, connection: sqlite3.Connection, to_us: int) -> TimeCorrection | None:
    """Return what a correction to this time changes; None if the time is not after it."""
    from_us = LedgerTime(connection).latest_us
    if from_us <= to_us:
        return None
    pruning = chain.last_pruning(connection)
    if pruning and to_us < (pruning.before_us or from_us):
        raise LedgerRefusedError(
            f"{ledger}: its time cannot be set back to {format_time(to_us, UTC)} (UTC): budgets of"
            " windows that had not ended then may have been pruned, and would be full again;"
            " restore a backup from before"
        )
    return TimeCorrection(from_us, to_us, *connection.execute(_AFTER, (to_us,)).fetchone())


def _correct(
    connection: sqlite3.Connection, planned: TimeCorrection, signed_by: str, reason: str
) -> None:
    """Record a correction, in a transaction of the caller's, and adapt what waits for its time."""
    (follows,) = connection.execute(LAST_ID).fetchone()
    values = (follows, planned.from_us, planned.to_us, signed_by, reason)
    link = chain.Chain(connection, "time_corrections").link(values)
    connection.execute(_INSERT, (*values, link))
    # The limits in force are those that counted last, whatever the time was then.
    connection.execute(
        "UPDATE budgets SET counted_at_us = ?1 WHERE counted_at_us > ?1", (planned.to_us,)
    )
    balances = GroupBalances(connection, Calendar(), LedgerTime(connection))
    alerts = Alerts(connection, balances, (), os.urandom)
    Settlements(connection, balances, alerts).expire_from(planned.to_us)
    balances.write()


_AFTER = """
SELECT count(*), coalesce(sum(state = 'open'), 0)
FROM all_decisions LEFT JOIN holds USING (id) WHERE decided_at_us > ?"""
_INSERT = insert("time_corrections", *chain.TIME_CORRECTION_COLUMNS, "chain")
