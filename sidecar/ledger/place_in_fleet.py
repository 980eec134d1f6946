"""The place of a ledger file in a fleet, for operators: whether it has one, a new one, or none.

A ledger that was restored from a backup is behind what the fleet's books know of it, and is fenced
there (G5). With a new place it is another holder, with no shares yet. What it has spent itself is
booked at its first exchange, as that of a ledger that joins; what the old holder has in the books
stays there, until an operator signs what was spent of it.
"""

import contextlib
import secrets
import sqlite3
from pathlib import Path
from typing import NamedTuple

from sidecar.domain.sharing import NO_SHARE
from sidecar.ledger import ledger_file
from sidecar.ledger.protocol import LedgerRefusedError
from sidecar.ledger.rows import LAST_ID
from sidecar.ledger.shares import Holder, Shares, read_holder, write_holder


class Rejoined(NamedTuple):
    """A ledger's old and new place."""

    old_uid: str
    new_uid: str
    shares: int
    """How many it had, of which nothing is left."""


def is_in_fleet(path: Path) -> bool:
    """Whether a ledger of this version is a holder. Raises LedgerRefusedError."""
    with contextlib.closing(ledger_file.open_reader(path)) as connection:
        return read_holder(connection) is not None


def check_alone(path: Path) -> None:
    """Raise LedgerRefusedError for a ledger of a fleet: alone, its budgets would be whole."""
    if is_in_fleet(path):
        raise LedgerRefusedError(
            f"{path}: is in a fleet, and without it may spend each budget whole: give"
            f" --fleet-url-file, or take it out with `sidecar fleet leave --ledger {path}`"
        )


def leave(path: Path) -> Holder:
    """Take a ledger that no sidecar uses out of its fleet; return what it was there.

    Raises LedgerRefusedError.
    """
    with ledger_file.sole_writer(ledger_file.canonical_path(path)) as connection:
        old = read_holder(connection)
        if old is None:
            raise LedgerRefusedError(f"{path}: is in no fleet")
        try:
            connection.execute("BEGIN IMMEDIATE")
            connection.execute("DELETE FROM shares")
            connection.execute("DELETE FROM holder")
            connection.execute("COMMIT")
        except sqlite3.Error as error:
            raise LedgerRefusedError(f"{path}: was not changed: {error}") from None
    return old


def rejoin(path: Path) -> Rejoined:
    """Make a ledger that no sidecar uses another holder. Raises LedgerRefusedError."""
    with ledger_file.sole_writer(ledger_file.canonical_path(path)) as connection:
        old = read_holder(connection)
        if old is None:
            raise LedgerRefusedError(f"{path}: is in no fleet, and joins one at its first start")
        if not old.boot:
            raise LedgerRefusedError(
                f"{path}: has a new place already, and takes it when it starts"
            )
        try:
            connection.execute("BEGIN IMMEDIATE")
            (last,) = connection.execute(LAST_ID).fetchone()
            new = Holder(secrets.token_hex(16), "", 0, 0, 0, reported_after=last)
            shares = Shares(connection)
            had = 0
            for key, end_us, share in shares.all():
                # The row stays: by it, a start knows which budgets to tell the books of.
                shares.put(key, end_us, NO_SHARE._replace(ceiling=share.ceiling))
                had += share.granted > 0
            write_holder(connection, new)
            connection.execute("COMMIT")
        except sqlite3.Error as error:
            raise LedgerRefusedError(f"{path}: was not changed: {error}") from None
    return Rejoined(old.uid, new.uid, had)
