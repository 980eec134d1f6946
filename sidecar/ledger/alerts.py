"""Alerts: raised in the same transaction as the change that they report.

A1: every threshold of a limit raises one alert for each scope and window. The table's
UNIQUE constraint ensures that; the set of known alerts only saves statements.
"""

import sqlite3
from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

from sidecar.domain.alerts import UNNAMED, Alert, AlertKind, Origin, overrun_percents
from sidecar.domain.clock import SECOND_US
from sidecar.domain.decisions import (
    Decision,
    Meter,
    ReservationLine,
    ReservationRequest,
    Settlement,
)
from sidecar.domain.retirement import MODEL_RETIRED
from sidecar.domain.rotation import STILL_IN_USE, Stage
from sidecar.domain.windows import MINUTE_US, Span, Window
from sidecar.ledger import rows
from sidecar.ledger.balances import Balance
from sidecar.ledger.group_balances import GroupBalances

BURN_FACTOR = 3
BURN_HOURS = 24
MIN_BURN_HOURS = 6
"""An hour burns when it has spent more than BURN_FACTOR times the mean of the hours before.

The mean is over those of the last BURN_HOURS with any spend; it needs MIN_BURN_HOURS of them.
"""

MAX_UNSPENT_SCOPES = 1000
"""The most scopes of one limit and window that raise an alert with nothing spent or held there.

A ceiling of 0 denies the first call of every scope; where apps choose scopes, as with a limit for
each principal, invented ones would fill the disk.
"""

MAX_KNOWN = 20_000

AlertKey = tuple[AlertKind, str, Window, str, int, tuple[int, ...]]
"""Kind, rule, window, scope, start of the window in microseconds, and the thresholds reached."""


class Alerts:
    """Raises alerts on one connection, in a transaction of the caller's."""

    def __init__(
        self,
        connection: sqlite3.Connection,
        balances: GroupBalances,
        channels: Sequence[str],
        entropy: Callable[[int], bytes],
        origin: Origin = UNNAMED,
        overrun_factor: int = 10,
    ) -> None:
        """Make each alert due for all of the channels, with an id made from the entropy.

        A usage of `overrun_factor` times its hold, and each ten times more, has an alert of its
        own.
        """
        self._overrun_factor = overrun_factor
        self._sql = connection
        self._balances = balances
        self._channels = tuple(channels)
        self._entropy = entropy
        self._origin = origin
        self._known: set[AlertKey] = set()
        self._unspent: Counter[tuple[str, Window, int]] = Counter()
        self._raised: list[Alert] = []

    def thresholds(
        self,
        reservation: ReservationRequest,
        decision: Decision,
        checked: Sequence[tuple[ReservationLine, Balance]],
    ) -> None:
        """Raise an alert for each threshold that a limit has reached and not yet reported.

        The level counts, not the crossing: a threshold reached by an overrun, an adjustment
        or a lower ceiling is reported with the next decision. A limit that has no room for a
        call is at 100 %, unless the call is larger than the whole budget.
        """
        holds, reached_limits = bool(decision.hold_id), not reservation.reasons
        for line, balance in checked:
            ceiling = line.limit.ceiling
            if ceiling is None or not line.alert_at_percent:
                continue
            held = balance.held - balance.idle + (line.amount if holds else 0)
            used = balance.spent + held
            reached = used * 100 // ceiling if ceiling else 100 * (used > 0)
            amount = line.amount
            larger = ceiling > 0 and balance.never_fits(amount)
            # By the ceiling: a share that is too small says nothing of the fleet's budget.
            if reached_limits and not (larger or balance.fits_ceiling(amount)):
                reached = max(reached, 100)
            passed = bisect_right(line.alert_at_percent, reached)
            if passed:
                self._passed(line, balance, passed, held)

    def _passed(self, line: ReservationLine, balance: Balance, passed: int, held: int) -> None:
        rule, meter, window, scope, ceiling, undivided_ceiling, _ = line.limit
        span, percents = self._span(balance), line.alert_at_percent[:passed]
        if not self._is_new((AlertKind.THRESHOLD, rule, window, scope, span.start_us, percents)):
            return
        if balance.spent + held > 0 or self._has_room((rule, window, span.start_us)):
            for percent in percents:
                self._raise(
                    AlertKind.THRESHOLD, balance.at_us, rule, scope, meter, window, *span,
                    percent, ceiling, balance.spent, held, None, line.shadow,
                    undivided_ceiling=undivided_ceiling,
                )  # fmt: skip

    def overrun(self, hold: int, at_us: int) -> None:
        """Report that a call used more than was held: once for each workspace and hour.

        A usage of many times its hold is reported by its order of magnitude, too.
        """
        self._about_hold(AlertKind.OVERRUN, hold, at_us)

    def refused_usage(self, hold: int, settlement: Settlement) -> None:
        """Report a usage too large to be charged: once for each workspace and hour."""
        self._about_hold(AlertKind.USAGE_REFUSED, hold, settlement.at_us, settlement)

    def expired(self, hold: int, at_us: int) -> None:
        """Report that a hold expired unsettled: once for each workspace and hour."""
        self._about_hold(AlertKind.EXPIRED, hold, at_us)

    def _about_hold(
        self, kind: AlertKind, hold: int, at_us: int, reported: Settlement | None = None
    ) -> None:
        """Raise an alert about a hold, with what it was charged, or with a usage that was not."""
        at_us = self._balances.advance(at_us)
        workspace, cost, held_cost, tokens, held_tokens = self._sql.execute(
            _HOLD, (hold,)
        ).fetchone()
        if reported is not None:
            cost, tokens = reported.cost_nano_usd, reported.used.tokens
        by_cost = held_cost > 0 if kind is AlertKind.EXPIRED else cost > held_cost
        spent, held = (cost, held_cost) if by_cost else (tokens, held_tokens)
        meter = Meter.COST if by_cost else Meter.TOKENS
        span = self._balances.span(Window.HOUR, at_us)
        percents: tuple[int, ...] = (0,)
        if kind is AlertKind.OVERRUN:
            percents += overrun_percents(spent, held, self._overrun_factor)
        if self._is_new((kind, "", Window.HOUR, workspace, span.start_us, percents)):
            for percent in percents:
                self._raise(
                    kind, at_us, "", workspace, meter, Window.HOUR, *span,
                    percent, None, spent, held,
                )  # fmt: skip

    def burn(self, at_us: int) -> int:
        """Report every limit of cost per hour that spends unusually fast; return how many."""
        self._balances.write()  # the rows are read next
        at_us = self._balances.advance(at_us)
        before, since_us = len(self._raised), self._balances.span(Window.HOUR, at_us).start_us
        burning = self._sql.execute(_BURNING, (since_us, at_us, at_us)).fetchall()
        for rule, scope, start_us, end_us, ceiling, spent, held, usual in burning:
            if self._is_new((AlertKind.BURN, rule, Window.HOUR, scope, start_us, ())):
                self._raise(
                    AlertKind.BURN, at_us, rule, scope, Meter.COST, Window.HOUR, start_us, end_us,
                    0, ceiling, spent, held, usual,
                )  # fmt: skip
        return len(self._raised) - before

    def keys_in_use(self, at_us: int) -> int:
        """Report every old key in use after its grace period, once a day; return how many."""
        at_us = self._balances.advance(at_us)
        span, before = self._balances.span(Window.DAY, at_us), len(self._raised)
        for (version,) in self._sql.execute(_KEYS_IN_USE, (Stage.SWITCHED, STILL_IN_USE)):
            if self._is_new((AlertKind.KEY_IN_USE, "", Window.DAY, version, span.start_us, ())):
                self._raise(
                    AlertKind.KEY_IN_USE, at_us, "", version, Meter.REQUESTS, Window.DAY, *span,
                    0, None, 0, 0,
                )  # fmt: skip
        return len(self._raised) - before

    def model_retirement(self, reservation: ReservationRequest, decision: Decision) -> None:
        """Report a model that is allowed shortly before its retirement, or denied because of it.

        That is once for each notice of `Retirement.notice`. A call that is
        denied for any other reason does not use the model.
        """
        retirement = reservation.retirement
        notice = None if retirement is None else retirement.notice(reservation.at_us)
        if retirement is None or notice is None:
            return
        if decision.hold_id:
            kind = AlertKind.MODEL_RETIRES
        elif [reason.code for reason in reservation.reasons] == [MODEL_RETIRED]:
            kind = AlertKind.MODEL_RETIRED
        else:
            return
        window, span = notice
        if self._is_new((kind, "", window, retirement.model_id, span.start_us, ())):
            self._raise(
                kind, self._balances.advance(reservation.at_us), "", retirement.model_id,
                Meter.REQUESTS, window, *span, 0, None, 0, 0,
                replaced_by=retirement.replaced_by,
            )  # fmt: skip

    def committed(self) -> list[Alert]:
        """Return the alerts raised since the last call; their transaction is on disk."""
        raised, self._raised = self._raised, []
        return raised

    def forget(self) -> None:
        """Drop what is cached: a transaction was rolled back, and its alerts with it."""
        self._known.clear()
        self._raised.clear()

    def _span(self, balance: Balance) -> Span:
        """Return an alert's window: the limit's, or a fixed one where that has no fixed start."""
        match balance.limit.window:
            case Window.MINUTE:  # a minute of the clock, as the limit's slides
                start_us = balance.at_us - balance.at_us % MINUTE_US
                return Span(start_us, start_us + MINUTE_US)
            case Window.CONCURRENT:  # the hour, as the limit's has no time
                return self._balances.span(Window.HOUR, balance.at_us)
        return balance.span

    def _is_new(self, key: AlertKey) -> bool:
        """Whether this alert is not known to be raised; from now on it is."""
        if key in self._known:
            return False
        if len(self._known) >= MAX_KNOWN:  # most are of old windows
            self._known.clear()
        self._known.add(key)
        return True

    def _has_room(self, window: tuple[str, Window, int]) -> bool:
        """Whether a scope in which nothing is spent may have an alert, too; it is counted."""
        if len(self._unspent) >= MAX_UNSPENT_SCOPES:  # most are of old windows
            self._unspent.clear()
        self._unspent[window] += 1
        return self._unspent[window] <= MAX_UNSPENT_SCOPES

    def _raise(
        self,
        kind: AlertKind,
        at_us: int,
        *others: Any,
        undivided_ceiling: int | None = None,
        replaced_by: str = "",
    ) -> None:
        """Insert an alert, due for each channel, unless it was raised before."""
        alert_id = f"alert_{at_us // 1000:012x}{self._entropy(10).hex()}"
        alert = Alert(alert_id, kind, at_us, *others)._replace(
            instance=self._origin.instance,
            share=self._origin.share,
            undivided_ceiling=undivided_ceiling,
            replaced_by=replaced_by,
        )
        written = self._sql.execute(_INSERT, alert)
        if written.rowcount:
            row = rows.row_id(written)
            self._sql.executemany(_INSERT_DELIVERY, [(row, name) for name in self._channels])
            self._raised.append(alert)


_INSERT = (
    rows.insert("alerts", *Alert._fields)
    + " ON CONFLICT (kind, rule, window, scope, window_start_us, percent) DO NOTHING"
)
_INSERT_DELIVERY = rows.insert("alert_deliveries", "alert", "channel")
_HOLD = (
    "SELECT workspace, charged_cost_nano_usd, held_cost_nano_usd,"
    " charged_input_tokens + charged_output_tokens, held_input_tokens + held_output_tokens"
    " FROM holds JOIN decisions USING (id) WHERE id = ?"
)
_KEYS_IN_USE = """
SELECT key_id || '#' || from_version FROM key_rotations WHERE stage = ? AND (
  SELECT note FROM key_rotation_steps WHERE rotation = key_rotations.id ORDER BY id DESC LIMIT 1
) = ?
"""
_BURNING = f"""
SELECT now.rule, now.scope, now.window_start_us, now.window_end_us, now.ceiling, now.spent,
  now.held, CAST(avg(was.spent) AS INTEGER)
FROM budgets now JOIN budgets was ON was.rule = now.rule AND was.window = 'hour'
  AND was.meter = 'cost' AND was.scope = now.scope AND was.spent > 0
  AND was.window_start_us < now.window_start_us
  AND was.window_start_us >= now.window_start_us - {BURN_HOURS * 3600 * SECOND_US}
WHERE now.window || ' ' || now.meter = 'hour cost' AND now.spent > 0
  AND now.window_start_us BETWEEN ? AND ? AND now.window_end_us > ?
GROUP BY now.id
HAVING count(*) >= {MIN_BURN_HOURS}
  AND now.spent * count(*) > {BURN_FACTOR} * total(was.spent)
"""  # noqa: S608 - numbers of our own
