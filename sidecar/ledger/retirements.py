"""The retirements of models, as the data files had them at each model's latest decision.

Reports read the ledger alone, and show them beside what was spent on these models.
"""

import sqlite3

from sidecar.domain.retirement import Retirement
from sidecar.ledger.rows import insert


class Retirements:
    """Records retirements on one connection, in a transaction of the caller's."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        """Use the connection."""
        self._sql = connection
        self._recorded: dict[str, Retirement] | None = None
        """By the model's id; None before they are read."""

    def record(self, model_id: str, retirement: Retirement | None) -> None:
        """Record the retirement of a decision's model, if it is not what is recorded."""
        if self._recorded is None:
            self._recorded = recorded(self._sql)
        if self._recorded.get(model_id) == retirement:
            return
        if retirement is None:
            del self._recorded[model_id]
            self._sql.execute("DELETE FROM model_retirements WHERE model = ?", (model_id,))
        else:
            self._recorded[model_id] = retirement
            self._sql.execute(_RECORD, retirement)

    def forget(self) -> None:
        """Drop what is cached: a transaction was rolled back."""
        self._recorded = None


def recorded(connection: sqlite3.Connection) -> dict[str, Retirement]:
    """Return the recorded retirements, by the model's id."""
    found = connection.execute("SELECT model, retires_at_us, replaced_by FROM model_retirements")
    return {row[0]: Retirement(*row) for row in found}


_RECORD = (
    insert("model_retirements", "model", "retires_at_us", "replaced_by")
    + " ON CONFLICT (model) DO UPDATE SET retires_at_us = excluded.retires_at_us,"
    " replaced_by = excluded.replaced_by"
)
