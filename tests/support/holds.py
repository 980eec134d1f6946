"""The holds in a ledger file."""

import sqlite3
from pathlib import Path
from typing import NamedTuple

from support.commands import sidecar
from support.sidecar_process import eventually


class Hold(NamedTuple):
    """A hold's state and its charge."""

    state: str
    outcome: str
    held_tokens: int
    charged_tokens: int
    cost_nano_usd: int
    response_model: str


def holds(ledger: Path) -> list[Hold]:
    """Return all holds, in the order of their decisions."""
    connection = sqlite3.connect(f"file:{ledger}?mode=ro", uri=True)
    found = connection.execute(
        "SELECT state, outcome, held_input_tokens + held_output_tokens,"
        " charged_input_tokens + charged_output_tokens, charged_cost_nano_usd, response_model"
        " FROM holds ORDER BY id"
    ).fetchall()
    connection.close()
    return [Hold(*row) for row in found]


def ended(ledger: Path, count: int = 1) -> list[Hold]:
    """Wait until there are this many holds and none is open; return them."""

    def look() -> list[Hold]:
        found = holds(ledger)
        return found if len(found) == count and all(it.state != "open" for it in found) else []

    return list(eventually(look, 20))


def verified(ledger: Path) -> bool:
    """Run `sidecar ledger verify`."""
    return sidecar("ledger", "verify", "--ledger", ledger)[0] == 0
