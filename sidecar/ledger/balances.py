"""Balances: what is spent and held on a limit, in every window that still counts."""

import sqlite3
from collections.abc import Sequence
from typing import NamedTuple

from sidecar.domain.amounts import fits
from sidecar.domain.clock import SECOND_US
from sidecar.domain.decisions import Budget, Limit, ReservationLine
from sidecar.domain.sharing import Share
from sidecar.domain.windows import FOREVER_US, HORIZON_US, MINUTE_US, Calendar, Span, Window


class Balance(NamedTuple):
    """What is spent and held on one limit at one moment."""

    limit: Limit
    at_us: int
    span: Span
    row: int | None
    """The row of the current window in the table `budgets`, if it has one yet."""
    spent: int
    held: int
    free: int | None = None
    """G2: what may still be admitted here, in a fleet; None where the ceiling alone decides."""
    share: Share | None = None
    """In a fleet; then what is spent and held is the fleet's."""

    @property
    def idle(self) -> int:
        """Of what is held, what other ledgers of a fleet have and do not use."""
        return 0 if self.share is None else self.share.others_free

    def fits(self, amount: int) -> bool:
        """L1: whether spent + held + this amount stays within the ceiling, and the share (G2)."""
        if self.free is not None and amount:
            return amount <= self.free
        return self.fits_ceiling(amount)

    def fits_ceiling(self, amount: int) -> bool:
        """Whether it stays within the ceiling."""
        return fits(self.limit.ceiling, self.spent + self.held, amount)

    def never_fits(self, amount: int) -> bool:
        """Whether the amount is larger than the whole budget, so that waiting does not help.

        It is above the ceiling, so no new window has room for it. Room that an adjustment
        added to this window counts as far as it is not spent.
        """
        return not fits(self.limit.ceiling, min(self.spent, 0), amount)

    def budget(self, more_held: int = 0) -> Budget:
        """Return it as a response's budget, with `more_held` added to what is held."""
        limit, (start_us, end_us) = self.limit, self.span
        if limit.window is Window.MINUTE:
            start_us, end_us = self.at_us - MINUTE_US, self.at_us
        return Budget(
            limit.rule,
            limit.meter,
            limit.scope,
            None if limit.window is Window.CONCURRENT else start_us,
            None if end_us == FOREVER_US else end_us,
            limit.ceiling,
            self.spent,
            self.held + more_held,
            None if self.share is None else self.share.as_of_us,
        )


class LedgerTime:
    """L9: the ledger's time, which follows the clock forward and never goes back.

    Only a signed correction sets it back: see time_correction.py.
    """

    def __init__(self, connection: sqlite3.Connection) -> None:
        """Start at the time of the ledger's last decision, or of its correction since then."""
        latest = connection.execute(_LATEST_US)
        self.latest_us: int = (latest.fetchone() or (0,))[0]

    def advance(self, at_us: int) -> int:
        """Move the time forward to the clock's, if that is later; return the ledger's time."""
        self.latest_us = max(self.latest_us, at_us)
        return self.latest_us

    def peek(self, at_us: int) -> int:
        """Return what `advance` would, without moving the time."""
        return max(self.latest_us, at_us)


class Sums(NamedTuple):
    """The sums of a limit's rows that still count."""

    spent: int
    held: int
    row: int | None
    """The row of the current window, if it has one yet."""
    ends_us: int | None
    """When the first of the other rows stops counting; None without others."""


class Balances:
    """Reads balances from a ledger."""

    def __init__(
        self, connection: sqlite3.Connection, calendar: Calendar, time: LedgerTime
    ) -> None:
        """Use the connection, the calendar of windows, and the ledger's time."""
        self._sql = connection
        self._calendar = calendar
        self.advance = time.advance
        self.span = calendar.span

    def of(self, limit: Limit, at_us: int) -> Balance:
        """Return a limit's balance: the sum of every row that has not ended.

        Rows of another time zone or anchor count, too. The row of the current window counts
        even when its recorded end, by an earlier time zone, has passed.
        """
        span = self.span(limit.window, at_us, limit.anchor)
        sums = self.sums(limit, span, at_us)
        return Balance(limit, at_us, span, sums.row, sums.spent, sums.held)

    def sums(self, limit: Limit, span: Span, at_us: int) -> Sums:
        """Add up the rows of a limit; `span` is its current window."""
        row = self._sql.execute(_SUMS, still_open(limit, span, at_us)).fetchone()
        return Sums(*row)

    def refused(
        self,
        unfit: Sequence[tuple[ReservationLine, Balance]],
        checked: Sequence[tuple[ReservationLine, Balance]],  # noqa: ARG002 - in a fleet
    ) -> Sequence[tuple[ReservationLine, Balance]]:
        """Return the lines that do refuse a call, of those that do not fit, and of all."""
        return unfit

    def wait_us(self, balance: Balance, amount: int) -> int:
        """Return how long until the amount may fit, if no other call is admitted.

        An amount above the ceiling fits only in this window, by the room of an adjustment,
        once a hold ends. Not for an amount that never fits, nor for a total.
        """
        limit, at_us, span = balance.limit, balance.at_us, balance.span
        above = limit.ceiling is not None and amount > limit.ceiling
        if limit.window is Window.CONCURRENT or above:
            return max(1, self._next_expiry_us(balance) - at_us)
        ends_us = span.end_us
        excess = balance.spent + balance.held + amount - (limit.ceiling or 0)
        for row_ends_us, used in self._sql.execute(_ENDS, still_open(limit, span, at_us)):
            ends_us, excess = row_ends_us, excess - used
            if excess <= 0:
                break
        return max(1, ends_us - at_us)

    def _next_expiry_us(self, balance: Balance) -> int:
        """Return when the first open hold expires; in a minute if there is none."""
        (expires_at_us,) = self._sql.execute(
            # Read only open holds: a concurrent limit's row has all that it ever had.
            "SELECT h.expires_at_us FROM holds h INDEXED BY holds_open"
            " JOIN hold_amounts a ON a.hold = h.id AND a.budget = ? WHERE h.state = 'open'"
            " ORDER BY h.expires_at_us LIMIT 1",
            (balance.row,),
        ).fetchone() or (balance.at_us + MINUTE_US,)
        return int(expires_at_us)


class PreviewBalances(Balances):
    """Balances for a preview: holds that are due count as expired.

    What such a hold would not be charged is free, as for a decision, which closes it first.
    """

    def sums(self, limit: Limit, span: Span, at_us: int) -> Sums:
        """See Balances.sums."""
        sums = super().sums(limit, span, at_us)
        if not sums.held:
            return sums
        concurrent = limit.window is Window.CONCURRENT
        (freed,) = self._sql.execute(
            _FREED_BY_EXPIRY, (*still_open(limit, span, at_us), concurrent)
        ).fetchone()
        return sums._replace(held=sums.held - freed)


_LATEST_US = """
SELECT coalesce((SELECT to_us FROM time_corrections WHERE follows = latest.id
  ORDER BY id DESC LIMIT 1), decided_at_us)
FROM (SELECT * FROM (SELECT id, decided_at_us FROM decisions ORDER BY id DESC LIMIT 1) UNION ALL
  SELECT * FROM (SELECT id, decided_at_us FROM denials ORDER BY id DESC LIMIT 1)) latest
ORDER BY latest.id DESC LIMIT 1"""

STILL_OPEN = (
    "FROM budgets WHERE rule = ?1 AND window = ?2 AND meter = ?3 AND scope = ?4"
    " AND window_start_us >= ?5 AND window_start_us < ?8"
    " AND (window_end_us > ?6 OR window_start_us = ?7)"
)
"""The rows of a limit that count: FROM and WHERE, with the parameters of `still_open`.

After a correction of the time there are rows that begin after the current window: their time has
yet to come.
"""

_SUMS = (
    "SELECT coalesce(sum(spent), 0), coalesce(sum(held), 0),"
    " max(CASE WHEN window_start_us = ?7 THEN id END),"
    f" min(CASE WHEN window_start_us <> ?7 THEN window_end_us END) {STILL_OPEN}"
)

_ENDS = (
    "SELECT CASE WHEN window_end_us > ?6 THEN window_end_us ELSE ?8 END, spent + held"
    f" {STILL_OPEN} ORDER BY 1"
)

_FREED_BY_EXPIRY = f"""
SELECT coalesce(sum(a.held), 0) FROM holds h INDEXED BY holds_open
JOIN hold_amounts a ON a.hold = h.id
WHERE h.state = 'open' AND h.expires_at_us <= ?6 AND (?9 OR NOT a.charge_on_expiry)
  AND a.budget IN (SELECT id {STILL_OPEN})"""  # noqa: S608 - our own text


def still_open(limit: Limit, span: Span, at_us: int) -> tuple[str | int, ...]:
    """Return the parameters of STILL_OPEN, which reads back as far as a window can be long."""
    horizon_us = HORIZON_US.get(limit.window, at_us)
    # No 60 seconds with this moment in them admit more than a minute's ceiling, so the 60 seconds
    # after it count, too.
    is_minute = limit.window is Window.MINUTE
    until_us = span.start_us + SECOND_US + MINUTE_US if is_minute else span.end_us
    return (
        limit.rule,
        limit.window.value,
        limit.meter.value,
        limit.scope,
        min(span.start_us, at_us - horizon_us),
        at_us,
        span.start_us,
        until_us,
    )
