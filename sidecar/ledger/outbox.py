"""The outbox: which alert is still due for which channel, and the attempts so far.

A2: a delivery stays due, through any crash, until an attempt has succeeded.
"""

import json
import sqlite3
from collections.abc import Sequence

from sidecar.domain.alerts import (
    MAX_WAIT_US,
    Alert,
    AlertGroup,
    AlertKind,
    Claim,
    Delivery,
    DeliveryOutcome,
)
from sidecar.domain.decisions import Meter
from sidecar.domain.windows import Window

MAX_PRUNED = 500
"""Alerts deleted in one transaction."""

ELSEWHERE = "by a sidecar of the fleet"
"""Noted in place of the last error of an alert that was delivered, as the fleet's books say."""


class Outbox:
    """The deliveries, on one connection."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        """Use the connection."""
        self._sql = connection

    def due(
        self,
        channel: str,
        now_us: int,
        at_most: int,
        *,
        group: AlertGroup | None = None,
        without: Sequence[AlertGroup] = (),
    ) -> list[Delivery]:
        """Return the deliveries that are due for a channel, the longest due first.

        They are those of one group, or of all but some.

        `now_us` is the system clock's time. A due time further off than MAX_WAIT_US was
        written before the clock was set back, and counts as due.
        """
        some = json.dumps([group] if group else without, separators=(",", ":"))
        values = (channel, now_us, now_us + MAX_WAIT_US, group is not None, some, at_most)
        found = self._sql.execute(_DUE, values)
        return [Delivery(_alert(columns), attempts) for *columns, attempts in found]

    def record(self, channel: str, outcomes: Sequence[DeliveryOutcome], now_us: int) -> None:
        """Record the outcomes of attempts, except of alerts that were deleted meanwhile.

        What another sidecar has delivered is delivered, after no attempt of this one's or more.
        """
        self._sql.executemany(
            _RECORD,
            [
                (
                    one.claim is Claim.OWN,
                    now_us if one.is_delivered else None,
                    one.next_at_us,
                    _NOTES.get(one.claim, one.error),
                    channel,
                    one.alert_id,
                )
                for one in outcomes
            ],
        )

    def prune(self, before_us: int) -> None:
        """Delete alerts whose window ended before a time, delivered or not.

        They cannot be raised again: the ledger's time is past their window.
        """
        old = self._sql.execute(
            "SELECT id FROM alerts WHERE window_end_us < ? ORDER BY window_end_us LIMIT ?",
            (before_us, MAX_PRUNED),
        ).fetchall()
        self._sql.executemany("DELETE FROM alert_deliveries WHERE alert = ?", old)
        self._sql.executemany("DELETE FROM alerts WHERE id = ?", old)


_NOTES = {Claim.DELIVERED: ELSEWHERE, Claim.TAKEN: None}
"""What is noted without an attempt; None leaves the last error."""


def _alert(columns: Sequence[object]) -> Alert:
    alert = Alert(*columns)  # type: ignore[arg-type] # the columns are its fields
    return alert._replace(
        kind=AlertKind(alert.kind),
        meter=Meter(alert.meter),
        window=Window(alert.window),
        shadow=bool(alert.shadow),
    )


_DUE = (
    f"SELECT {', '.join(Alert._fields)}, attempts"  # noqa: S608 - names of our own
    " FROM alert_deliveries JOIN alerts ON alerts.id = alert"
    " WHERE delivered_at_us IS NULL AND channel = ? AND (next_at_us <= ? OR next_at_us > ?)"
    " AND ? = (json_array(kind, rule) IN (SELECT value FROM json_each(?)))"
    " ORDER BY next_at_us, alert LIMIT ?"
)
_RECORD = (
    "UPDATE alert_deliveries SET attempts = attempts + ?, delivered_at_us = ?, next_at_us = ?,"
    " last_error = coalesce(?, last_error) WHERE delivered_at_us IS NULL AND channel = ?"
    " AND alert = (SELECT id FROM alerts WHERE alert_id = ?)"
)
