"""Limits as the ledger knows them, without the policy files: as of each one's latest call.

A rule may change its meter, window or anchor, and change back, while its earlier windows are
still open. The row of `budgets` that counted last is the one that is in force, whichever is
newer.
"""

import sqlite3
from collections.abc import Iterator

from sidecar.domain.decisions import Limit, Meter
from sidecar.domain.windows import Anchor, Span, Window


def rules(connection: sqlite3.Connection) -> list[str]:
    """Return the ids of the limits that have counted calls, in order."""
    found = connection.execute("SELECT DISTINCT rule FROM budgets ORDER BY rule")
    return [rule for (rule,) in found]


def latest_limit(connection: sqlite3.Connection, rule: str) -> Limit | None:
    """Return a limit as of the latest call that it counted, without scope and ceiling.

    None if it has counted no call.
    """
    found = connection.execute(
        "SELECT meter, window, starts_on, starts_at FROM budgets WHERE rule = ?"
        " ORDER BY counted_at_us DESC, id DESC LIMIT 1",
        (rule,),
    ).fetchone()
    if found is None:
        return None
    meter, window, *anchor = found
    return Limit(rule, Meter(meter), Window(window), "", None, anchor=Anchor(*anchor))


def ceiling_of(connection: sqlite3.Connection, limit: Limit, span: Span) -> int | None:
    """Return the ceiling that the latest call of the limit's scope had; None is unlimited.

    `span` is its current window, which is preferred where the ledger's time stood still.
    """
    found = connection.execute(
        "SELECT ceiling FROM budgets WHERE rule = ? AND meter = ? AND window = ? AND scope = ?"
        " ORDER BY counted_at_us DESC, window_start_us = ? DESC, id DESC LIMIT 1",
        (limit.rule, limit.meter.value, limit.window.value, limit.scope, span.start_us),
    ).fetchone()
    return None if found is None else found[0]


def has_scope(connection: sqlite3.Connection, rule: str, scope: str) -> bool:
    """Return whether a limit has a budget for this scope."""
    found = connection.execute(
        "SELECT 1 FROM budgets WHERE rule = ? AND scope = ? LIMIT 1", (rule, scope)
    )
    return found.fetchone() is not None


def scopes(connection: sqlite3.Connection, rule: str, at_most: int) -> Iterator[str]:
    """Yield the scopes that a limit has budgets for, those of the newest budgets first."""
    found = connection.execute(
        "SELECT scope FROM budgets WHERE rule = ? GROUP BY scope ORDER BY max(id) DESC LIMIT ?",
        (rule, at_most),
    )
    yield from (scope for (scope,) in found)
