"""Admission: checks a call against its limits, holds its worst case, records the decision."""

import sqlite3
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import NamedTuple

from sidecar.domain.amounts import format_larger, format_room
from sidecar.domain.decisions import (
    LARGER_THAN_BUDGET,
    Decision,
    Effect,
    HoldState,
    Reason,
    ReservationLine,
    ReservationRequest,
)
from sidecar.domain.prices import Tariff
from sidecar.domain.share import Share
from sidecar.domain.windows import Window
from sidecar.ledger import rows
from sidecar.ledger.alerts import Alerts
from sidecar.ledger.balances import Balance, Balances
from sidecar.ledger.chain import DECISION_COLUMNS, HOLD_COLUMNS, DecisionChain
from sidecar.ledger.denials import Denials
from sidecar.ledger.group_balances import GroupBalances
from sidecar.ledger.ids import unique_part
from sidecar.ledger.replays import recorded_decision, request_key
from sidecar.ledger.retirements import Retirements

CheckedLines = Sequence[tuple[ReservationLine, Balance]]


def check_reservation(
    balances: Balances, reservation: ReservationRequest, at_us: int, unique: str, *, hold: bool
) -> tuple[Decision, CheckedLines]:
    """Return the decision, and each line with its balance.

    L1: allow only when every line fits whose limit is not in shadow mode. With `hold` False,
    an allowed call gets no hold either. `unique` is the part of the ids after the prefix.
    """
    call = reservation.call
    checked = [(line, balances.of(line.limit, at_us)) for line in reservation.lines]
    reasons, shadow_reasons, retry_after_us = reservation.reasons, reservation.shadow_reasons, 0
    if not reasons:
        unfit = [(line, balance) for line, balance in checked if not balance.fits(line.amount)]
        if unfit and (refused := balances.refused(unfit, checked)):
            reasons, shadowed, retry_after_us = _refusal(balances, refused, reservation.share)
            shadow_reasons += shadowed
            # The ledger's time stands still until the clock has caught up.
            retry_after_us += reservation.clock_behind_us if retry_after_us else 0
    allowed = not reasons
    holds = allowed and hold
    decision = Decision(
        request_id=call.request_id,
        decision_id=f"dec_{unique}",
        effect=Effect.ALLOW if allowed else Effect.DENY,
        reasons=reasons,
        shadow_reasons=shadow_reasons,
        budgets=tuple(
            balance.budget(line.amount if holds else 0)
            for line, balance in checked
            if not line.shadow
        ),
        retry_after_us=retry_after_us,
        model_id=call.model_id,
        max_output_tokens=call.max_output_tokens if allowed else 0,
        policy_digest=reservation.policy_digest,
        policy_generation=reservation.policy_generation,
        hold_id=f"hold_{unique}" if holds else "",
        hold_expires_at_us=at_us + call.hold_ttl_us if holds else 0,
        held_cost_nano_usd=call.cost_nano_usd if allowed else 0,
        hold_state=HoldState.OPEN if holds else None,
    )
    return decision, checked


class _Refusal(NamedTuple):
    """Why limits refuse a call, and when to retry; 0 if a retry does not help."""

    reasons: tuple[Reason, ...]
    shadow_reasons: tuple[Reason, ...]
    retry_after_us: int


def _refusal(balances: Balances, refused: CheckedLines, share: Share) -> _Refusal:
    """Return the reasons of the limits that refuse a call, and when to retry.

    When the call is larger than a whole budget, no retry helps: there is no time to retry
    after, and that reason comes first. A total is never renewed, so it has no such time either.
    """
    enforced = [(line, balance) for line, balance in refused if not line.shadow]
    reasons = tuple(_reason(*one, share) for one in enforced)
    shadow_reasons = tuple(_reason(*one, share) for one in refused if one[0].shadow)
    too_small = [(line, balance) for line, balance in enforced if balance.never_fits(line.amount)]
    if too_small:
        return _Refusal((_larger(too_small, share), *reasons), shadow_reasons, 0)
    if any(balance.limit.window is Window.TOTAL for _, balance in enforced):
        return _Refusal(reasons, shadow_reasons, 0)
    waits_us = [balances.wait_us(balance, line.amount) for line, balance in enforced]
    return _Refusal(reasons, shadow_reasons, max(waits_us, default=0))


def _reason(line: ReservationLine, balance: Balance, share: Share) -> Reason:
    """Return the rule's own reason; its message also gets the amounts requested and left."""
    reason = line.refusal()
    room = format_room(line.amount, balance.budget(), share, balance.idle)
    return replace(reason, message=f"{reason.message} {room}")


def _larger(too_small: Sequence[tuple[ReservationLine, Balance]], share: Share) -> Reason:
    """Return one reason for all limits whose whole budget is smaller than the call."""
    message = "; ".join(
        format_larger(line.amount, balance.budget(), share) for line, balance in too_small
    )
    return Reason(LARGER_THAN_BUDGET, f"{message}: waiting does not help", "", 403)


_INSERT_DECISION = rows.insert("decisions", "id", *DECISION_COLUMNS, "chain")
_INSERT_HOLD = rows.insert("holds", "id", "state", *HOLD_COLUMNS, "amounts")


class Admission:
    """Decides and records on one connection.

    The caller begins and commits the transaction around `decide`, which raises, if at all,
    before its first write.
    """

    def __init__(
        self,
        connection: sqlite3.Connection,
        balances: GroupBalances,
        alerts: Alerts,
        chain: DecisionChain,
        denials: Denials,
        entropy: Callable[[int], bytes],
    ) -> None:
        """Use the connection, and the balances, alerts, chain and denials on it.

        The ids of decisions and holds take their random part from the entropy.
        """
        self._entropy = entropy
        self._sql = connection
        self._balances = balances
        self._alerts = alerts
        self._chain = chain
        self._denials = denials
        self._last_id: int | None = None
        self._retirements = Retirements(connection)
        self._row_ids: dict[str | Tariff, int] = {}

    def decide(self, reservation: ReservationRequest) -> Decision:
        """Record the decision and its hold, or return the one already recorded."""
        at_us = self._balances.advance(reservation.at_us)
        earlier = recorded_decision(self._sql, reservation.call, at_us)
        if earlier is not None:
            return earlier
        row = self._next_id()
        unique = unique_part(row, self._entropy)
        decision, checked = check_reservation(self._balances, reservation, at_us, unique, hold=True)
        self._record(row, reservation, decision, checked, at_us)
        self._alerts.thresholds(reservation, decision, checked)
        self._alerts.model_retirement(reservation, decision)
        self._retirements.record(reservation.call.model_id, reservation.retirement)
        return decision

    def forget(self) -> None:
        """Drop what is cached: a transaction was rolled back, and its new rows with it."""
        self._row_ids.clear()
        self._last_id = None
        self._retirements.forget()

    def _record(
        self,
        row: int,
        reservation: ReservationRequest,
        decision: Decision,
        checked: CheckedLines,
        at_us: int,
    ) -> None:
        """Write the decision and its hold, if any, linked to the hash chain."""
        if not decision.hold_id:
            budgets = rows.budgets_to_json(decision.budgets)
            self._denials.record(row, self._decision_values(reservation, decision, budgets, at_us))
            return
        held = [(self._balances.hold(balance, line.amount), line) for line, balance in checked]
        shown = [(budget, line.limit.window) for budget, line in held if not line.shadow]
        budgets = rows.packed_budgets_to_json(shown, decision.budgets)
        values = self._decision_values(reservation, decision, budgets, at_us)
        hold = self._hold_values(reservation, decision)
        amounts = sorted((budget, line.amount, int(line.charge_on_expiry)) for budget, line in held)
        link = self._chain.link(values, hold, amounts)
        self._sql.execute(_INSERT_DECISION, (row, *values, link))
        packed = rows.amounts_to_json([(*amount, 0) for amount in amounts])
        self._sql.execute(_INSERT_HOLD, (row, "open", *hold, packed))

    def _next_id(self) -> int:
        """Return the row id of a new decision, allowed or denied: they are numbered together."""
        if self._last_id is None:
            self._last_id = self._id(rows.LAST_ID)
        self._last_id += 1
        return self._last_id

    def _decision_values(
        self, reservation: ReservationRequest, decision: Decision, budgets: str, at_us: int
    ) -> tuple[object, ...]:
        """Return the values of DECISION_COLUMNS."""
        call = reservation.call
        return (
            decision.decision_id,
            request_key(call),
            call.fingerprint,
            at_us,
            decision.effect.value,
            call.principal_id,
            call.role,
            call.workspace,
            call.key_id,
            call.model_requested,
            call.model_id,
            call.endpoint.value,
            decision.max_output_tokens,
            rows.reasons_to_json(decision.reasons),
            rows.reasons_to_json(decision.shadow_reasons),
            budgets,
            decision.retry_after_us,
            self._policy_set(decision.policy_digest),
            decision.policy_generation,
        )

    def _hold_values(
        self, reservation: ReservationRequest, decision: Decision
    ) -> tuple[object, ...]:
        """Return the values of HOLD_COLUMNS."""
        call = reservation.call
        return (
            decision.hold_id,
            decision.hold_expires_at_us,
            None if call.tariff is None else self._price(call.tariff),
            call.terms.service_tier,
            int(call.terms.batch),
            call.terms.region,
            call.most.input_tokens,
            call.most.output_tokens,
            call.most.pages,
            call.most.audio_seconds,
            call.cost_nano_usd,
            call.most.characters,
            call.most.annotated_pages,
            rows.tool_calls_to_json(call.most.tool_calls),
        )

    def _policy_set(self, digest: str) -> int:
        if digest not in self._row_ids:
            self._sql.execute("INSERT OR IGNORE INTO policy_sets (digest) VALUES (?)", (digest,))
            self._row_ids[digest] = self._id(
                "SELECT id FROM policy_sets WHERE digest = ?", (digest,)
            )
        return self._row_ids[digest]

    def _price(self, tariff: Tariff) -> int:
        if tariff not in self._row_ids:
            version = (tariff.price.price_id, rows.tariff_to_json(tariff))
            self._sql.execute(
                "INSERT OR IGNORE INTO prices (price_id, content) VALUES (?,?)", version
            )
            self._row_ids[tariff] = self._id(
                "SELECT id FROM prices WHERE price_id = ? AND content = ?", version
            )
        return self._row_ids[tariff]

    def _id(self, sql: str, parameters: tuple[str, ...] = ()) -> int:
        (row,) = self._sql.execute(sql, parameters).fetchone()
        return int(row)
