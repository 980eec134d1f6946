"""Whether a call fits: each of its demands against how its limit stands."""

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

from sidecar.domain.amounts import format_larger, format_room
from sidecar.domain.decisions import Decision, Demand, Effect, HoldState, Proposal, Reason
from sidecar.domain.share import Share
from sidecar.ledger.standings import Standing, Standings

Weighed = list[tuple[Demand, Standing]]


def weigh(
    standings: Standings, proposal: Proposal, at_us: int, *, hold: bool
) -> tuple[Decision, Weighed]:
    """L1: allow only when every demand that is enforced fits.

    Without `hold` nothing is held, whatever is decided.
    """
    call = proposal.call
    weighed = [(demand, standings.of(demand.limit, at_us)) for demand in proposal.demands]
    reasons, shadow_reasons, retry_after_us = proposal.reasons, proposal.shadow_reasons, 0
    if not reasons:
        refused = [(d, standing) for d, standing in weighed if not standing.fits(d.amount)]
        if refused:
            reasons, shadowed, retry_after_us = _refusal(standings, refused, proposal.share)
            shadow_reasons += shadowed
    allowed = not reasons
    holds = allowed and hold
    decision = Decision(
        request_id=call.request_id,
        decision_id=proposal.decision_id,
        effect=Effect.ALLOW if allowed else Effect.DENY,
        reasons=reasons,
        shadow_reasons=shadow_reasons,
        budgets=tuple(
            standing.budget(demand.amount if holds else 0)
            for demand, standing in weighed
            if not demand.shadow
        ),
        retry_after_us=retry_after_us,
        model_id=call.model_id,
        max_output_tokens=call.max_output_tokens if allowed else 0,
        policy_digest=proposal.policy_digest,
        policy_generation=proposal.policy_generation,
        hold_id=proposal.hold_id if holds else "",
        hold_expires_at_us=at_us + call.hold_ttl_us if holds else 0,
        held_cost_nano_usd=call.cost_nano_usd if allowed else 0,
        hold_state=HoldState.OPEN if holds else None,
    )
    return decision, weighed


class _Refusal(NamedTuple):
    reasons: tuple[Reason, ...]
    shadow_reasons: tuple[Reason, ...]
    retry_after_us: int


def _refusal(standings: Standings, refused: Weighed, share: Share) -> _Refusal:
    """Say why limits refuse a call, and when they may not.

    Where one has a budget that is smaller than the call, waiting for the others helps
    nobody: there is no time to ask again, and that reason comes first.
    """
    enforced = [(d, standing) for d, standing in refused if not d.shadow]
    reasons = tuple(_reason(*one, share) for one in enforced)
    shadow_reasons = tuple(_reason(*one, share) for one in refused if one[0].shadow)
    too_small = [(d, standing) for d, standing in enforced if standing.never_fits(d.amount)]
    if too_small:
        return _Refusal((_larger(too_small, share), *reasons), shadow_reasons, 0)
    waits_us = [standings.wait_us(standing, d.amount) for d, standing in enforced]
    return _Refusal(reasons, shadow_reasons, max(waits_us, default=0))


def _reason(demand: Demand, standing: Standing, share: Share) -> Reason:
    """Return what the rule says, with what was asked and what is left."""
    reason = demand.refusal()
    room = format_room(demand.amount, standing.budget(), share)
    return replace(reason, message=f"{reason.message} {room}")


def _larger(too_small: Sequence[tuple[Demand, Standing]], share: Share) -> Reason:
    """Return the one reason for all limits whose budget is smaller than the call."""
    message = "; ".join(
        format_larger(demand.amount, standing.budget(), share) for demand, standing in too_small
    )
    return Reason("LARGER_THAN_BUDGET", f"{message}: waiting does not help", "", 403)
