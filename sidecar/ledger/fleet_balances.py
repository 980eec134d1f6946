"""Balances of a fleet's budgets, of which this ledger may admit up to its shares.

    spent + held + this hold <= the share on this disk (G2)

A share that is too small does not deny a call: the fleet's books are asked first, and the
call is decided again. It is denied only if they have no room.
"""

import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple, Protocol

from sidecar.domain.decisions import Limit, Meter, ReservationLine
from sidecar.domain.sharing import FLEET_MINUTE_US, PERIOD_US, TIMELESS, BudgetKey, Share
from sidecar.domain.windows import DEFAULT_ANCHOR, FOREVER_US, Anchor, Calendar, Span, Window
from sidecar.ledger.balances import Balance, Balances, LedgerTime, PreviewBalances
from sidecar.ledger.change import NotYetError
from sidecar.ledger.group_balances import GroupBalance, GroupBalances
from sidecar.ledger.shares import Shares


def budget_key(limit: Limit, span: Span) -> BudgetKey:
    """Return which budget of the fleet a limit counts on in a window."""
    start_us = 0 if limit.window in TIMELESS else span.start_us
    return BudgetKey(limit.rule, limit.meter, limit.window, limit.scope, start_us)


class Lack(NamedTuple):
    """A call for which a share is too small."""

    key: BudgetKey
    end_us: int
    limit: Limit
    amount: int
    """What the call takes."""


class Asker(Protocol):
    """Asks the fleet's books for what a share lacks."""

    def is_trusted(self, window: Window, ttl_us: int) -> bool:
        """Whether a call may use a share of this window, for a hold of this length.

        Timeless ones only if the books were heard, and know how long open holds may last.
        """

    def is_refused(self, key: BudgetKey, amount: int, ceiling: int) -> bool:
        """Whether the books have just said that there is no room for an amount (G9)."""

    def ask(
        self, lacks: Sequence[Lack], takes: Mapping[BudgetKey, int], since_us: int | None
    ) -> NotYetError:
        """Ask for what a call lacks, which waits since then; return what it has to wait for."""

    def held(self, key: BudgetKey, end_us: int, limit: Limit, amount: int, largest: int) -> None:
        """Note that calls have taken an amount together, and the largest of them."""

    def closed(self, key: BudgetKey, end_us: int, limit: Limit) -> None:
        """Note that what is used has changed otherwise."""


def shared(balance: Balance, share: Share, *, is_trusted: bool) -> Balance:
    """Return a ledger's own balance as one of the fleet, of which it may admit its share."""
    ceiling = balance.limit.ceiling
    free = share.granted - balance.spent - balance.held
    if not is_trusted or ceiling is None or ceiling < share.ceiling:
        free = min(0, free)
    return balance._replace(
        spent=balance.spent + share.others_spent,
        held=balance.held + share.others_held + share.others_free,
        free=free,
        share=share,
    )


class FleetCalendar(Calendar):
    """The calendar of a fleet, whose minute is a little longer: clocks drift apart."""

    def span(self, window: Window, at_us: int, anchor: Anchor = DEFAULT_ANCHOR) -> Span:
        """See Calendar.span."""
        span = super().span(window, at_us, anchor)
        return Span(span.start_us, at_us + FLEET_MINUTE_US) if window is Window.MINUTE else span


class FleetGroupBalances(GroupBalances):
    """Balances of the fleet for the calls of a group."""

    def __init__(
        self,
        connection: sqlite3.Connection,
        calendar: Calendar,
        time: LedgerTime,
        asker: Asker,
    ) -> None:
        """See GroupBalances; the asker is asked for what a share lacks."""
        super().__init__(connection, calendar, time)
        self.shares = Shares(connection)
        self._asker = asker
        self.waits_since_us: int | None = None
        """Since when the call waits that is decided now; None at the first time."""
        self.hold_ttl_us = 0
        """How long its hold may last."""

    def of(self, limit: Limit, at_us: int) -> Balance:
        """See GroupBalances.of."""
        if limit.ceiling is None:
            return super().of(limit, at_us)
        span = self.span(limit.window, at_us, limit.anchor)
        cached = self.cached(limit, span, at_us)
        share = cached.share
        if share is None:
            share = cached.share = self.shares.get(budget_key(limit, span))
        is_trusted = self._asker.is_trusted(limit.window, self.hold_ttl_us)
        # As `shared` says, which is too slow for each limit of each call.
        spent, held = cached.spent, cached.held
        free = share.granted - spent - held
        if free > 0 and (limit.ceiling < share.ceiling or not is_trusted):
            free = 0
        spent, held = spent + share.others_spent, held + share.others_held + share.others_free
        return Balance(limit, at_us, span, cached.row, spent, held, free, share)

    def own(self, limit: Limit, span: Span, at_us: int) -> tuple[int, int]:
        """Return what this ledger has spent and holds of a limit, with what its group has held."""
        self.write()  # the rows are read next
        if limit.window is Window.MINUTE:  # its rows are seconds, up to now
            span = self.span(limit.window, at_us)
        sums = self.sums(limit, span, at_us)
        return sums.spent, sums.held

    def in_use(self, at_us: int) -> Iterable[tuple[BudgetKey, int, Limit]]:
        """Return the open budgets that this ledger has used, with the ends of their windows."""
        found: dict[BudgetKey, tuple[int, Limit]] = {}
        for rule, meter, window, scope, ceiling, *span, day, hour in self._sql.execute(
            _IN_USE, (at_us,)
        ):
            anchor = Anchor(day, hour)
            limit = Limit(rule, Meter(meter), Window(window), scope, ceiling, anchor=anchor)
            found[budget_key(limit, Span(*span))] = end_us(limit, Span(*span)), limit
        return [(key, ends_us, limit) for key, (ends_us, limit) in found.items()]

    def busy_us(self, at_us: int) -> int:
        """Return how long it is until the last open hold expires."""
        (expires_at_us,) = self._sql.execute(
            "SELECT max(expires_at_us) FROM holds WHERE state = 'open'"
        ).fetchone()
        return max(0, (expires_at_us or 0) - at_us)

    def refused(
        self,
        unfit: Sequence[tuple[ReservationLine, Balance]],
        checked: Sequence[tuple[ReservationLine, Balance]],
    ) -> Sequence[tuple[ReservationLine, Balance]]:
        """Return the lines that the fleet has no room for. Raises NotYetError to ask the books.

        A line in shadow mode never waits: it is judged by what the books said last.
        """
        lacks: list[Lack] = []
        certain: list[tuple[ReservationLine, Balance]] = []
        for line, balance in unfit:
            limit, key = line.limit, budget_key(line.limit, balance.span)
            if line.shadow:
                if not balance.fits_ceiling(line.amount):
                    certain.append((line, balance))
            elif balance.never_fits(line.amount) or self._asker.is_refused(
                key, line.amount, limit.ceiling or 0
            ):
                certain.append((line, balance))
            else:
                lacks.append(Lack(key, end_us(limit, balance.span), limit, line.amount))
        if lacks and all(line.shadow for line, _ in certain):
            takes = {budget_key(line.limit, one.span): line.amount for line, one in checked}
            raise self._asker.ask(lacks, takes, self.waits_since_us)
        return certain

    def put_share(self, key: BudgetKey, end_us: int, share: Share) -> None:
        """Write a share, which the next calls of the group have, too."""
        self.write()
        self.shares.put(key, end_us, share)

    def _write(self, balances: Iterable[GroupBalance]) -> None:
        """Write what was held, and note it as load."""
        balances = list(balances)
        for one in balances:
            limit = one.limit
            if limit is not None and limit.ceiling is not None:
                span = Span(one.start_us, one.window_end_us)
                key, ends_us = budget_key(limit, span), end_us(limit, span)
                self._asker.held(key, ends_us, limit, one.added, one.largest)
        super()._write(balances)

    def _write_closed(self) -> None:
        """Write what was closed, and note that it has changed."""
        for row in self._rows.values():
            if (row.freed or row.charged) and row.limit.ceiling is not None:
                limit, span = row.limit, row.span
                self._asker.closed(budget_key(limit, span), end_us(limit, span), limit)
        super()._write_closed()

    def wait_us(self, balance: Balance, amount: int) -> int:
        """See Balances.wait_us; what others do not use may be given back at any time."""
        return PERIOD_US if balance.idle else super().wait_us(balance, amount)


def end_us(limit: Limit, span: Span) -> int:
    """Return when the window of a budget ends; a timeless one has no end."""
    return FOREVER_US if limit.window in TIMELESS else span.end_us


class FleetBalances(Balances):
    """Committed balances of the fleet, as of the last exchange."""

    def __init__(
        self,
        connection: sqlite3.Connection,
        calendar: Calendar,
        time: LedgerTime,
        shares: Shares,
    ) -> None:
        """See Balances; `shares` are the writer's."""
        super().__init__(connection, calendar, time)
        self._shares = shares

    def of(self, limit: Limit, at_us: int) -> Balance:
        """See Balances.of."""
        own = super().of(limit, at_us)
        return _of_fleet(own, self._shares)


class FleetPreviewBalances(PreviewBalances):
    """Balances of the fleet for a preview, which asks nothing: what is in no share has room."""

    def __init__(
        self,
        connection: sqlite3.Connection,
        calendar: Calendar,
        time: LedgerTime,
        shares: Shares,
    ) -> None:
        """See PreviewBalances; `shares` are the writer's."""
        super().__init__(connection, calendar, time)
        self._shares = shares

    def of(self, limit: Limit, at_us: int) -> Balance:
        """See Balances.of."""
        own = super().of(limit, at_us)
        return _of_fleet(own, self._shares)


def _of_fleet(own: Balance, shares: Shares) -> Balance:
    if own.limit.ceiling is None:
        return own
    share = shares.get(budget_key(own.limit, own.span))
    # Without `free`, it fits if the ceiling has room for it beside all that others have.
    return shared(own, share, is_trusted=True)._replace(free=None)


_IN_USE = (
    "SELECT rule, meter, window, scope, ceiling, window_start_us, window_end_us, starts_on,"
    " starts_at FROM budgets"
    " WHERE window_end_us > ? AND ceiling IS NOT NULL AND (spent <> 0 OR held <> 0)"
)
