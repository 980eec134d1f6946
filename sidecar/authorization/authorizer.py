"""The authorizer: may this call to Mistral go out, and what is left to spend?

    request ─▶ request evaluation: names, worst case, rules ─▶ ledger: reserve ─▶ decision
    usage   ─▶ cost ─▶ ledger: the hold becomes spend ─▶ charge

It is independent of gRPC, of SQL, and of the CEL evaluator in use.
"""

import copy
import logging
from dataclasses import replace

from mistral_spend.v1 import authorization_pb2 as pb

from sidecar.authorization.call_recorder import current_recorder
from sidecar.authorization.proposal import Call, Proposal, Proposer
from sidecar.authorization.request_evaluation import EvaluationResult, limits_of
from sidecar.authorization.usage_bounds import UsageBounds, UsageTooLargeError
from sidecar.authorization.usage_log import UsageLog
from sidecar.domain.clock import TRUSTING, Clock, ClockGuard
from sidecar.domain.decisions import (
    Budget,
    Charge,
    Decision,
    Effect,
    Hold,
    HoldState,
    Reason,
    ReservationRequest,
    Settlement,
)
from sidecar.domain.prices import Tariff, Terms, UnpricedError
from sidecar.domain.usage import UsageReport
from sidecar.ledger.change import Change, known
from sidecar.ledger.protocol import Ledger
from sidecar.policy.policy_set import PolicySet

log = logging.getLogger(__name__)

DEFAULT_BOUNDS = UsageBounds()


class Authorizer:
    """Decides calls on one ledger, and on one policy set at a time.

    `policy` may be replaced at any moment, so each call reads it once.
    """

    def __init__(
        self,
        policy: PolicySet,
        ledger: Ledger,
        clock: Clock,
        hold_ttl_us: int,
        guard: ClockGuard = TRUSTING,
        bounds: UsageBounds = DEFAULT_BOUNDS,
    ) -> None:
        """Create an authorizer.

        `hold_ttl_us` is the lifetime of a hold whose request sets none, in microseconds;
        `bounds` are the largest counts that a Settle may report.
        """
        self._bounds = bounds
        self._proposer = Proposer(clock, guard, hold_ttl_us, ledger.budgets)
        self.policy = policy
        self.revoked_versions: frozenset[str] = frozenset()
        """Revoked key versions, as KEY#VERSION. The ledger has them, the policies do not."""
        self._ledger = ledger
        self._clock = clock
        self.guard = guard
        """Says whether calls can be decided by the clock."""
        self._usage_log = UsageLog()

    def snapshot(self) -> "Authorizer":
        """Return a copy that stays on the current policy set."""
        return copy.copy(self)

    def later(self, wait_us: int) -> "Authorizer":
        """Return a copy whose clock is ahead by `wait_us`, for dry runs."""
        later, now = self.snapshot(), self._clock
        later._clock = lambda: now() + wait_us  # noqa: SLF001 - its own
        later._proposer = replace(self._proposer, clock=later._clock)  # noqa: SLF001
        return later

    def authorize(
        self, request: pb.AuthorizeRequest, contradiction: str = "", owner: str = ""
    ) -> Change[Decision]:
        """Decide one validated request, and hold its worst case when it is allowed.

        A `contradiction` between its principal and the authenticated caller denies it. The owner
        is the principal that the caller has proven to be, whom its request_id belongs to. A dry
        run is decided at once. Raises what Ledger.decide_in_group raises, or ClockJumpedError: a
        dry run now, others when they are awaited.
        """
        recorder = current_recorder.get()
        recorder.enter("queue")
        call = Call(self.policy, request, contradiction, owner)
        proposal: Proposal | None = None

        # Called when the group begins, so that decisions have the times and the order of commits.
        def propose() -> ReservationRequest:
            nonlocal proposal
            recorder.enter("policy")
            self.guard.check()
            proposal = self._proposer.propose(call, self.revoked_versions)
            recorder.enter("ledger")
            return proposal.reservation

        # A decision in the ledger is in the log, even if the client has hung up.
        def record(decision: Decision) -> Decision:
            assert proposal is not None, "what is decided was proposed"
            if proposal.evaluation.warnings:
                decision = replace(decision, warnings=proposal.evaluation.warnings)
            if not request.dry_run:
                _log_shadows(decision)
            labels = request.principal.labels
            recorder.decided(proposal.reservation, decision, labels, dry_run=request.dry_run)
            return decision

        if request.dry_run:
            return known(record(self._ledger.preview(propose())))
        return self._ledger.decide_in_group(propose, record)

    async def settle(
        self,
        hold_id: str,
        report: UsageReport,
        response_model: str,
        outcome: str,
        owner: str = "",
    ) -> Charge:
        """Charge the call's real usage. Counts that the report omits are charged as held.

        With an owner, another principal's hold is unknown. Raises what Ledger.settle raises, and
        UsageTooLargeError, with an alert, for a count that is above its bound.
        """
        recorder = current_recorder.get()
        recorder.enter("ledger")
        refusals: list[UsageTooLargeError] = []

        def settlement_of(hold: Hold) -> Settlement:
            settlement = self._settlement(hold, report, response_model, outcome)
            refusals.clear()
            if hold.state in (HoldState.OPEN, HoldState.EXPIRED):  # else the first one stands (L3)
                try:
                    self._bounds.check(report)
                except UsageTooLargeError as error:
                    refusals.append(error)
            return replace(settlement, refused=True) if refusals else settlement

        def record(charge: Charge) -> Charge:
            if not refusals:
                recorder.closed("settle", hold_id, charge)
            return charge

        charge = await self._ledger.settle_in_group(hold_id, settlement_of, record, owner)
        if refusals:
            raise refusals[0]
        return charge

    def _settlement(
        self, hold: Hold, report: UsageReport, response_model: str, outcome: str
    ) -> Settlement:
        used = report.completed(hold.endpoint, hold.most)
        cost_nano_usd = hold.cost_nano_usd
        tariff = self._tariff_that_served(hold, response_model)
        unrecognized = report.unrecognized(hold.endpoint)
        # An empty report, and one without a count that is understood, leave the cost as held.
        if tariff is not None and report != UsageReport() and not unrecognized:
            cost_nano_usd = tariff.cost_nano_usd(used, _terms_that_served(hold, report, tariff))
        self._usage_log.note(hold, report, unrecognized=unrecognized)
        return Settlement(used, cost_nano_usd, outcome, response_model, self._clock(), unrecognized)

    async def release(self, hold_id: str, reason: str, owner: str = "") -> Charge:
        """Release the hold of a call that was never sent.

        With an owner, another principal's hold is unknown. Raises what Ledger.release raises.
        """
        recorder = current_recorder.get()
        recorder.enter("ledger")

        def record(charge: Charge) -> Charge:
            recorder.closed("release", hold_id, charge)
            return charge

        return await self._ledger.release_in_group(hold_id, reason, self._clock, record, owner)

    def preview(self, request: pb.AuthorizeRequest) -> tuple[EvaluationResult, Decision]:
        """Decide one validated request as a dry run that is not reported to the recorder.

        Raises what Ledger.preview raises.
        """
        proposal = self._proposer.propose(Call(self.policy, request), self.revoked_versions)
        evaluation = proposal.evaluation
        decision = self._ledger.preview(proposal.reservation)
        return evaluation, replace(decision, warnings=evaluation.warnings)

    def would_record_denial(
        self, request: pb.AuthorizeRequest, contradiction: str, owner: str
    ) -> bool:
        """Whether a validated request would be denied now, and not as a repeat (L3).

        Raises what Ledger.recorded raises.
        """
        call = Call(self.policy, request, contradiction, owner)
        reservation = self._proposer.propose(call, self.revoked_versions).reservation
        if self._ledger.recorded(reservation) is not None:
            return False
        return self._ledger.preview(reservation).effect is Effect.DENY

    def now_us(self) -> int:
        """Return the time of a decision made now, in microseconds."""
        return self._clock()

    def budgets(
        self, principal: pb.Principal, model: str
    ) -> tuple[tuple[Budget, ...], tuple[Reason, ...]]:
        """Return a principal's budgets, and reasons for those that cannot be determined."""
        now_us = self._clock()
        limits, reasons = limits_of(self.policy, principal, model, now_us)
        return self._ledger.budgets(limits, now_us), reasons

    def _tariff_that_served(self, hold: Hold, response_model: str) -> Tariff | None:
        """Return the tariff of the model that the response names, else the hold's.

        An alias may have moved to a model with another price since the hold. If the response
        only repeats the name in the request, the model is unknown. A model that has no price
        for such a call cannot have served it. In both cases the hold's tariff applies.
        """
        if response_model == hold.model_requested:
            return hold.tariff
        model = self.policy.catalogue.models.get(response_model)
        if hold.tariff is None or model is None or model.message.id == hold.model_id:
            return hold.tariff
        served = model.tariff(hold.opened_at_us)
        try:
            if served is not None:
                served.bound_nano_usd(hold.endpoint, hold.most, hold.terms)
        except UnpricedError:
            return hold.tariff
        return served or hold.tariff


def _log_shadows(decision: Decision) -> None:
    for reason in decision.shadow_reasons:
        log.info(
            "decision %s: shadow %s: %s", decision.decision_id, reason.rule, reason.code,
            extra={"fields": {"decision_id": decision.decision_id}},
        )  # fmt: skip


def _terms_that_served(hold: Hold, report: UsageReport, tariff: Tariff) -> Terms:
    """Return the hold's terms, with the response's service tier if that has a price."""
    if not report.service_tier:
        return hold.terms
    terms = replace(hold.terms, service_tier=report.service_tier)
    try:
        tariff.multipliers.of(terms)
    except UnpricedError:
        return hold.terms
    return terms
