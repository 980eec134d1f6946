"""How each limit stands: what is spent and held in every window that still counts."""

import sqlite3
from typing import NamedTuple

from sidecar.domain.decisions import Budget, Limit
from sidecar.domain.windows import HORIZON_US, MINUTE_US, Calendar, Span, Window


class Balance(NamedTuple):
    """One limit at one moment."""

    limit: Limit
    at_us: int
    span: Span
    row: int | None
    """The row of the current window in the table `budgets`, if it has one yet."""
    spent: int
    held: int

    def fits(self, amount: int) -> bool:
        """L1: whether settled + held + this amount stays within the ceiling."""
        ceiling = self.limit.ceiling
        return ceiling is None or self.spent + self.held + amount <= ceiling

    def never_fits(self, amount: int) -> bool:
        """Whether the amount is larger than the budget itself: of no use to wait for room.

        It is more than the ceiling, so that no new window has room for it. Where an
        adjustment has given this window more, that counts as far as it is not spent.
        """
        ceiling = self.limit.ceiling
        return ceiling is not None and amount + min(self.spent, 0) > ceiling

    def budget(self, more_held: int = 0) -> Budget:
        """Write it down for an answer, with an amount that is held from now on."""
        limit, (start_us, end_us) = self.limit, self.span
        if limit.window is Window.MINUTE:
            start_us, end_us = self.at_us - MINUTE_US, self.at_us
        timeless = limit.window is Window.CONCURRENT
        return Budget(
            rule=limit.rule,
            meter=limit.meter,
            scope=limit.scope,
            window_start_us=None if timeless else start_us,
            window_end_us=None if timeless else end_us,
            ceiling=limit.ceiling,
            spent=self.spent,
            held=self.held + more_held,
        )


class LedgerTime:
    """L9: the ledger's time follows the clock forward, and never back."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        """Start at the time of the ledger's last decision."""
        latest = connection.execute("SELECT decided_at_us FROM decisions ORDER BY id DESC LIMIT 1")
        self.latest_us: int = (latest.fetchone() or (0,))[0]

    def advance(self, at_us: int) -> int:
        """Return the time to use when the clock says this."""
        self.latest_us = max(self.latest_us, at_us)
        return self.latest_us

    def look(self, at_us: int) -> int:
        """Return the same for what is only looked at, which moves no time."""
        return max(self.latest_us, at_us)


class Sums(NamedTuple):
    """What the rows of a limit that still count come to."""

    spent: int
    held: int
    row: int | None
    """The row of the current window, if it has one yet."""
    ends_us: int | None
    """When the first of the other rows stops counting."""


class Balances:
    """Reads standings from a ledger."""

    def __init__(
        self, connection: sqlite3.Connection, calendar: Calendar, time: LedgerTime
    ) -> None:
        """Use the connection, the calendar for windows, and the time of the whole ledger."""
        self._sql = connection
        self._calendar = calendar
        self.advance = time.advance
        self.span = calendar.span

    def of(self, limit: Limit, at_us: int) -> Balance:
        """Add up every row that has not ended, whichever calendar it was opened in.

        The row of the current window counts whatever end it was given: where the calendar
        has changed since, the window may have ended already in the old one.
        """
        span = self.span(limit.window, at_us)
        sums = self.sums(limit, span, at_us)
        return Balance(limit, at_us, span, sums.row, sums.spent, sums.held)

    def sums(self, limit: Limit, span: Span, at_us: int) -> Sums:
        """Read what there is for a limit now, in whose current window `span` is."""
        row = self._sql.execute(_SUMS, _still_open(limit, span, at_us)).fetchone()
        return Sums(*row)

    def wait_us(self, balance: Balance, amount: int) -> int:
        """Return how long until the amount may fit, if nothing else is admitted.

        An amount above the ceiling fits only into this window, where an adjustment gave it
        more: once a hold ends. One that never fits has nothing to wait for.
        """
        limit, at_us, span = balance.limit, balance.at_us, balance.span
        above = limit.ceiling is not None and amount > limit.ceiling
        if limit.window is Window.CONCURRENT or above:
            return max(1, self._next_expiry_us(balance) - at_us)
        ends_us = span.end_us
        excess = balance.spent + balance.held + amount - (limit.ceiling or 0)
        for row_ends_us, used in self._sql.execute(
            _ENDS, (*_still_open(limit, span, at_us), span.end_us)
        ):
            ends_us, excess = row_ends_us, excess - used
            if excess <= 0:
                break
        return max(1, ends_us - at_us)

    def _next_expiry_us(self, balance: Balance) -> int:
        """Return when the first of the open holds expires, a minute on if none is."""
        (expires_at_us,) = self._sql.execute(
            # Only open holds are looked at; those that a limit ever had are endless.
            "SELECT h.expires_at_us FROM holds h INDEXED BY holds_open"
            " JOIN hold_amounts a ON a.hold = h.id AND a.budget = ? WHERE h.state = 'open'"
            " ORDER BY h.expires_at_us LIMIT 1",
            (balance.row,),
        ).fetchone() or (balance.at_us + MINUTE_US,)
        return int(expires_at_us)


class ForeseenStandings(Balances):
    """Standings as they are at a time by which holds that are due have expired.

    What no limit is charged for is room then, as for a decision, which expires it first.
    """

    def sums(self, limit: Limit, span: Span, at_us: int) -> Sums:
        """See Standings.sums."""
        sums = super().sums(limit, span, at_us)
        if not sums.held:
            return sums
        concurrent = limit.window is Window.CONCURRENT
        (freed,) = self._sql.execute(
            _FREED_BY_EXPIRY, (*_still_open(limit, span, at_us), concurrent)
        ).fetchone()
        return sums._replace(held=sums.held - freed)


_STILL_OPEN = (
    "FROM budgets WHERE rule = ?1 AND window = ?2 AND meter = ?3 AND scope = ?4"
    " AND window_start_us >= ?5 AND (window_end_us > ?6 OR window_start_us = ?7)"
)

_SUMS = (
    "SELECT coalesce(sum(spent), 0), coalesce(sum(held), 0),"
    " max(CASE WHEN window_start_us = ?7 THEN id END),"
    f" min(CASE WHEN window_start_us <> ?7 THEN window_end_us END) {_STILL_OPEN}"
)

_ENDS = (
    "SELECT CASE WHEN window_end_us > ?6 THEN window_end_us ELSE ?8 END, spent + held"
    f" {_STILL_OPEN} ORDER BY 1"
)

_FREED_BY_EXPIRY = f"""
SELECT coalesce(sum(a.held), 0) FROM holds h INDEXED BY holds_open
JOIN hold_amounts a ON a.hold = h.id
WHERE h.state = 'open' AND h.expires_at_us <= ?6 AND (?8 OR NOT a.charge_on_expiry)
  AND a.budget IN (SELECT id {_STILL_OPEN})"""  # noqa: S608 - our own text


def _still_open(limit: Limit, span: Span, at_us: int) -> tuple[str | int, ...]:
    """Return the parameters of _STILL_OPEN: no further back than a window can be long."""
    horizon_us = HORIZON_US.get(limit.window, at_us)
    return (
        limit.rule,
        limit.window.value,
        limit.meter.value,
        limit.scope,
        min(span.start_us, at_us - horizon_us),
        at_us,
        span.start_us,
    )
