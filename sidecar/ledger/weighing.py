"""Whether a call fits: each of its demands against how its limit stands."""

from sidecar.domain.decisions import Decision, Demand, Effect, Proposal
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
        reasons = tuple(demand.refusal() for demand, _ in refused if not demand.shadow)
        shadow_reasons += tuple(demand.refusal() for demand, _ in refused if demand.shadow)
        retry_after_us = max(
            (standings.wait_us(s, d.amount) for d, s in refused if not d.shadow),
            default=0,
        )
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
    )
    return decision, weighed
