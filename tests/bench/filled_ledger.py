"""A ledger as after a month of use, written in minutes by copying one decision.

The first decision, its settlement and a denial are made by the ledger itself. They are
copied with ids, times, callers and links of the copies' own, and with sums that agree, so
that `sidecar ledger verify` accepts the file. The balances in a copy are
those of the first decision, which `verify` does not check; their size is right.
"""

import asyncio
import itertools
import json
import os
import sqlite3
import time
import uuid
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC
from operator import itemgetter
from pathlib import Path
from typing import Any, NamedTuple

from support.sidecar_process import chat, principal

from sidecar.authorization.authorizer import Authorizer
from sidecar.domain.clock import SECOND_US
from sidecar.domain.usage import UsageReport
from sidecar.domain.windows import Calendar, Window
from sidecar.ledger import rows
from sidecar.ledger.chain import DECISION_COLUMNS, DENIAL_COLUMNS, HOLD_COLUMNS, Chain
from sidecar.ledger.ids import unique_part
from sidecar.ledger.sqlite import SqliteLedger
from sidecar.policy import policy_set

DAYS = 30
"""Within the time that the sidecar keeps decisions for by itself."""

PRINCIPALS = 1000
WORKSPACES = ("dev-workspace", "ml-workspace", "prod-workspace")
DENIED_ONE_IN = 50
OPEN_AT_END = 200
AT_ONCE = 5_000

Row = dict[str, Any]

Amount = tuple[int, int, int, int]
"""As in the column `amounts` of a hold."""

_of_decision = itemgetter(*DECISION_COLUMNS)
_of_denial = itemgetter(*DENIAL_COLUMNS)
_of_hold = itemgetter(*HOLD_COLUMNS)


class _Template(NamedTuple):
    """The rows that the ledger wrote for one call, with the budget of each amount."""

    decision: Row
    hold: Row
    amounts: list[tuple[Amount, Row]]


@dataclass
class _Window:
    """A budget row, with the amounts of its copies so far."""

    row: Row
    spent: int = 0
    held: int = 0
    holds: int = 0


def fill(
    path: Path, policies: Path, decisions: int, done: Callable[[int], object] = lambda _: None
) -> None:
    """Write a ledger with this many decisions of the past month; yield the number so far.

    Most are settled, some denied, and the last few have open holds. If the file exists, nothing
    is done. At least three decisions are written.
    """
    if path.exists():
        return
    unfinished = path.with_name(f"{path.name}.unfinished")
    unfinished.unlink(missing_ok=True)
    _fill(unfinished, policies, decisions, done)
    unfinished.rename(path)
    path.with_name(f"{unfinished.name}.lock").unlink()


def _fill(path: Path, policies: Path, decisions: int, done: Callable[[int], object]) -> None:
    end_us = time.time_ns() // 1000 - 3600 * SECOND_US
    step_us = DAYS * 86_400 * SECOND_US // decisions
    asyncio.run(_first_calls(path, policies, end_us - decisions * step_us))
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        for setting in ("journal_mode = OFF", "synchronous = OFF", "cache_size = -2000000"):
            connection.execute(f"PRAGMA {setting}")
        filling = _Filling(connection)
        numbers = iter(range(filling.first, decisions + 1))
        connection.execute("BEGIN")
        while some := list(itertools.islice(numbers, AT_ONCE)):
            for number in some:
                at_us = end_us - (decisions - number) * step_us
                filling.add(number, at_us, is_open=number > decisions - OPEN_AT_END)
            filling.write()
            done(some[-1])
        filling.write_windows()
        connection.execute("COMMIT")


async def _first_calls(path: Path, policies: Path, at_us: int) -> None:
    """Let the ledger itself write a call that is allowed and settled, and one that is denied."""
    ledger = SqliteLedger(path)
    try:
        authorizer = Authorizer(policy_set.load(policies), ledger, lambda: at_us, 3600 * SECOND_US)
        allowed = await authorizer.authorize(chat())
        assert allowed.hold_id, allowed.reasons
        usage = UsageReport(input_tokens=90, output_tokens=60)
        await authorizer.settle(allowed.hold_id, usage, "mistral-small-latest", "ok")
        denied = await authorizer.authorize(chat(principal(workspace="ml-workspace")))
        assert denied.reasons
    finally:
        await ledger.close()


class _Filling:
    """Copies of the first calls, written to the file in batches."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._sql = connection
        self._chain = Chain(connection, "decisions")
        self._denials = Chain(connection, "denials")
        self._calendar = Calendar(UTC)
        self._allowed, self._denied = _templates(connection)
        (self._budgets,) = connection.execute("SELECT max(id) FROM budgets").fetchone()
        self._windows: dict[tuple[object, ...], _Window] = {}
        self._ended: list[_Window] = []
        self._rows: dict[str, list[Row]] = {}
        for _, budget in self._allowed.amounts:  # the first call's own windows go on
            window = self._window(budget, self._allowed.decision)
            window.row["id"], window.spent, window.holds = budget["id"], budget["spent"], 1
        self.first = self._denied.decision["id"] + 1
        self._number = self._denied.decision["number"]

    def add(self, number: int, at_us: int, *, is_open: bool) -> None:
        """Copy a call into this row, decided at this time."""
        template = self._allowed if number % DENIED_ONE_IN else self._denied
        unique = unique_part(number, os.urandom)
        decision = {
            **template.decision,
            "id": number,
            "decision_id": f"dec_{unique}",
            "request_id": str(uuid.UUID(bytes=os.urandom(16), version=4)),
            "decided_at_us": at_us,
            "principal": f"principal-{number % PRINCIPALS}",
            "workspace": WORKSPACES[number % len(WORKSPACES)],
        }
        if not template.hold:
            self._number += 1
            decision["number"] = self._number
            decision["chain"] = self._denials.link(_of_denial(decision))
            self._put("denials", decision)
            return
        hold = {
            **template.hold,
            "id": number,
            "hold_id": f"hold_{unique}",
            "expires_at_us": at_us + 86_400 * SECOND_US,
            "closed_at_us": at_us + 2 * SECOND_US,
        }
        if is_open:
            hold |= dict.fromkeys((name for name in hold if name.startswith("charged_")), 0)
            hold |= {"state": "open", "closed_at_us": None, "outcome": "", "response_model": ""}
        amounts = self._amounts(template, decision, is_open=is_open)
        hold["amounts"] = rows.amounts_to_json(amounts)
        decision["chain"] = self._chain.link(
            _of_decision(decision), _of_hold(hold), [amount[:3] for amount in amounts]
        )
        self._put("decisions", decision)
        self._put("holds", hold)

    def write(self) -> None:
        """Write the copies so far, and the windows that have ended."""
        for window in self._ended:
            sums = {"spent": window.spent, "held": window.held, "holds": window.holds}
            self._put("budgets", {**window.row, **sums})
        self._ended.clear()
        for table, copies in self._rows.items():
            if copies:
                # REPLACE, for the windows of the first call are there already.
                statement = rows.insert(table, *copies[0]).replace("INSERT", "INSERT OR REPLACE")
                self._sql.executemany(statement, [tuple(copy.values()) for copy in copies])
                copies.clear()

    def write_windows(self) -> None:
        """Write the remaining windows, at the end."""
        self._ended += self._windows.values()
        self.write()

    def _amounts(self, template: _Template, decision: Row, *, is_open: bool) -> list[Amount]:
        """Return what a copy holds of each budget, in the budgets' order."""
        found = []
        for (_, held, charge_on_expiry, charged), budget in template.amounts:
            window = self._window(budget, decision)
            window.held += held * is_open
            window.spent += charged * (not is_open)
            window.holds += 1
            found.append((window.row["id"], held, charge_on_expiry, charged * (not is_open)))
        return sorted(found)

    def _window(self, budget: Row, decision: Row) -> _Window:
        """Return the row that counts for a copy: like the first call's, for its own scope and time.

        Rows of a sliding minute that is over are let go of: there is one for each second.
        """
        first = self._allowed.decision
        scopes = {first[name]: decision[name] for name in ("principal", "workspace")}
        scope = scopes.get(budget["scope"], budget["scope"])
        at_us = decision["decided_at_us"]
        kind = Window(budget["window"])
        start_us, end_us = self._calendar.span(kind, at_us)
        key = (budget["rule"], scope, 0 if kind is Window.MINUTE else start_us)
        window = self._windows.get(key)
        if window is not None and window.row["window_start_us"] != start_us:
            self._ended.append(window)
            window = None
        if window is None:
            self._budgets += 1
            row = {**budget, "id": self._budgets, "scope": scope, "window_start_us": start_us}
            window = self._windows[key] = _Window(row)
        window.row["window_end_us"] = end_us
        return window

    def _put(self, table: str, row: Row) -> None:
        self._rows.setdefault(table, []).append(row)


def _templates(connection: sqlite3.Connection) -> tuple[_Template, _Template]:
    """Read back the allowed and the denied call."""

    def read(query: str, *parameters: int) -> list[Row]:
        found = connection.execute(query, parameters)
        names = [column[0] for column in found.description]
        return [dict(zip(names, row, strict=True)) for row in found]

    (allowed,), (denied,) = read("SELECT * FROM decisions"), read("SELECT * FROM denials")
    (hold,) = read("SELECT * FROM holds")
    amounts = [
        (tuple(amount), read("SELECT * FROM budgets WHERE id = ?", amount[0])[0])
        for amount in json.loads(hold["amounts"])
    ]
    return _Template(allowed, hold, amounts), _Template(denied, {}, [])
