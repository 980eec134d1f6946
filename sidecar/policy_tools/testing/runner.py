"""The test runner: runs fixtures on the real authorizer and ledger, with a simulated clock.

Each test runs once on each CEL engine, on a fresh ledger. It passes if both give the expected
result.
"""

import asyncio
import json
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path

from sidecar.authorization.alternatives import Fitting, fitting
from sidecar.authorization.authorizer import Authorizer
from sidecar.authorization.request_evaluation import EvaluationResult, evaluate_request
from sidecar.contract import validation
from sidecar.domain.clock import SECOND_US
from sidecar.domain.decisions import (
    Budget,
    CallFacts,
    Charge,
    Decision,
    Effect,
    Limit,
    Meter,
    Reason,
    ReservationLine,
    ReservationRequest,
    Settlement,
)
from sidecar.domain.money import format_usd, nano_usd
from sidecar.domain.prices import Terms
from sidecar.domain.usage import Endpoint, Usage
from sidecar.domain.usage_json import parse_usage_json
from sidecar.ledger.sqlite import SqliteLedger
from sidecar.policy.cel.variables import Values
from sidecar.policy.policy_set import PolicySet
from sidecar.policy_tools.testing.fixture_file import (
    AuthorizeStep,
    BalanceEntry,
    Expectation,
    FixtureStep,
    SettleStep,
)
from sidecar.policy_tools.testing.fixtures import Fixture
from sidecar.policy_tools.testing.validate import request_of

HOLD_TTL_US = 600 * SECOND_US

FITS, REFUSES = "fits", "refuses"
"""What a limit with a ceiling does with a call."""


@dataclass(frozen=True, slots=True)
class Mismatch:
    """A difference between the expected and the actual result."""

    line: int
    what: str
    expected: str
    actual: str


@dataclass(slots=True)
class FixtureResult:
    """The result of one test on one engine."""

    fixture: Fixture
    engine: str
    mismatches: list[Mismatch] = field(default_factory=list)
    inputs: list[Values] = field(default_factory=list)
    """The policy input of each authorize step, in order."""
    limits: set[tuple[str, str]] = field(default_factory=set)
    """Limits by id, with FITS or REFUSES, as they were seen in some call."""
    failed_at: Values | None = None
    """The policy input of the first step with a mismatch."""
    involved: set[str] = field(default_factory=set)
    """The rules with a reason in that step, or expected to have one."""


def run_fixtures(policy: PolicySet, fixtures: list[Fixture]) -> Iterator[FixtureResult]:
    """Run fixtures on one policy set, each on a fresh ledger."""
    for fixture in fixtures:
        with tempfile.TemporaryDirectory(prefix="sidecar-test-") as folder:
            yield asyncio.run(_TestRun(policy, fixture, Path(folder) / "ledger.sqlite").run())


class _TestRun:
    """One test on one engine."""

    def __init__(self, policy: PolicySet, fixture: Fixture, path: Path) -> None:
        self._policy = policy
        self._fixture = fixture
        self._now_us = fixture.at_us
        self._ledger = SqliteLedger(path, policy.zone)
        self._authorizer = Authorizer(policy, self._ledger, lambda: self._now_us, HOLD_TTL_US)
        self._holds: dict[str, str] = {}
        self._result = FixtureResult(fixture, policy.engine.name)
        self._line = fixture.line

    async def run(self) -> FixtureResult:
        try:
            for balance in self._fixture.balances:
                await self._spend_balance(balance)
            for line, step in self._fixture.steps:
                self._line = line
                await self._ledger.expire(self._now_us)
                await self._run_step(step)
        finally:
            await self._ledger.close()
        return self._result

    async def _run_step(self, step: FixtureStep) -> None:
        expected = step.expect
        if step.advance is not None:
            self._now_us += step.advance
        elif step.authorize is not None:
            await self._authorize(step.authorize, expected)
        elif step.settle is not None:
            if hold_id := self._hold(step.settle.hold):
                await self._settle(hold_id, step.settle, expected)
        elif step.release is not None and (hold_id := self._hold(step.release.hold)):
            self._compare_charge(expected, await self._authorizer.release(hold_id, "fixture"))

    async def _settle(self, hold_id: str, step: SettleStep, expected: Expectation) -> None:
        try:
            report = parse_usage_json(json.dumps(dict(step.usage)))
        except ValueError as error:
            self._compare("usage", "a valid usage object", f"the usage {error}")
            return
        charge = await self._authorizer.settle(hold_id, report, step.response_model, "ok")
        self._compare_charge(expected, charge)

    async def _authorize(self, step: AuthorizeStep, expected: Expectation) -> None:
        request = request_of(step)
        try:
            default_endpoint = self._policy.catalogue.endpoint(request.model)
            validation.check_authorize(request, default_endpoint)
        except validation.InvalidFieldError as error:
            self._compare("request", "a valid request", str(error))
            return
        # Evaluated here too, because a decision does not contain the policy input.
        evaluated = evaluate_request(self._policy, request, self._now_us, self._ledger.budgets)
        values = evaluated.values
        decision = await self._authorizer.authorize(request)
        if not evaluated.reasons:  # otherwise the limits are not reached
            self._result.limits |= set(_outcomes_of_limits(evaluated, decision))
        if decision.hold_id:
            self._holds[step.name] = decision.hold_id
        before = len(self._result.mismatches)
        self._compare_decision(expected, decision)
        if expected.names_what_fits:
            self._compare_fitting(expected, await fitting(self._authorizer, request, decision))
        if values is not None:
            self._result.inputs.append(values)
            if len(self._result.mismatches) > before and self._result.failed_at is None:
                self._result.failed_at = values
                self._result.involved = self._involved(expected, decision)

    def _involved(self, expected: Expectation, decision: Decision) -> set[str]:
        """Return the rules with a reason, or expected to have one; all rules if there are none."""
        with_reason = {reason.rule for reason in (*decision.reasons, *decision.shadow_reasons)}
        named = {*(expected.rules or ()), *(expected.shadow or ())}
        by_reason = {
            rule.id for rule in self._policy.rules if rule.reason in (expected.reasons or ())
        }
        known = {rule.id for rule in self._policy.rules}
        return (with_reason | named | by_reason) & known or known

    def _hold(self, name: str) -> str:
        """Return the id of a hold; if no earlier step made it, add a mismatch and return ""."""
        hold_id = self._holds.get(name, "")
        if not hold_id:
            self._compare("hold", f"a hold named '{name}'", "no earlier step made it")
        return hold_id

    def _compare_decision(self, expected: Expectation, decision: Decision) -> None:
        if expected.effect is not None:
            self._compare("effect", expected.effect, decision.effect.value)
        for what, wanted, actual in (
            ("reasons", expected.reasons, [reason.code for reason in decision.reasons]),
            ("rules", expected.rules, [reason.rule for reason in decision.reasons]),
            ("shadow", expected.shadow, [reason.rule for reason in decision.shadow_reasons]),
            ("warnings", expected.warnings, [warning.code for warning in decision.warnings]),
        ):
            if wanted is not None:
                self._compare(what, ", ".join(sorted(wanted)), ", ".join(sorted(actual)))
        if expected.max_output_tokens is not None:
            self._compare(
                "max_output_tokens",
                str(expected.max_output_tokens),
                str(decision.max_output_tokens),
            )
        self._compare_usd("held_usd", expected.held_usd, decision.held_cost_nano_usd)
        self._compare_remaining(expected, decision.budgets)

    def _compare_fitting(self, expected: Expectation, fits: Fitting) -> None:
        if expected.fitting_max_output_tokens is not None:
            self._compare(
                "fitting_max_output_tokens",
                str(expected.fitting_max_output_tokens),
                str(fits.max_output_tokens),
            )
        if expected.fitting_models is not None:
            wanted, actual = ", ".join(expected.fitting_models), ", ".join(fits.models)
            self._compare("fitting_models", wanted, actual)

    def _compare_charge(self, expected: Expectation, charge: Charge) -> None:
        self._compare_usd("charged_usd", expected.charged_usd, charge.cost_nano_usd)
        if expected.charged_tokens is not None:
            self._compare("charged_tokens", str(expected.charged_tokens), str(charge.tokens))
        self._compare_remaining(expected, charge.budgets)

    def _compare_usd(self, what: str, expected: Decimal | None, actual_nano_usd: int) -> None:
        if expected is not None:
            self._compare(what, format_usd(nano_usd(expected)), format_usd(actual_nano_usd))

    def _compare_remaining(self, expected: Expectation, budgets: tuple[Budget, ...]) -> None:
        left = {budget.rule: budget for budget in budgets}
        for rule, wanted in expected.remaining.items():
            budget = left.get(rule)
            actual = "no such limit" if budget is None else _left(budget)
            is_cost = budget is not None and budget.meter is Meter.COST
            amount = wanted if isinstance(wanted, str) else _amount(wanted, is_cost=is_cost)
            self._compare(f"remaining of {rule}", amount, actual)

    def _compare(self, what: str, expected: str, actual: str) -> None:
        if expected != actual:
            self._result.mismatches.append(Mismatch(self._line, what, expected, actual))

    async def _spend_balance(self, balance: BalanceEntry) -> None:
        """Spend a balance before the first step, as an earlier call that was settled."""
        rule = next((rule for rule in self._policy.limits if rule.id == balance.rule), None)
        if rule is None:
            self._compare("balances", "a limit of the policy set", balance.rule)
            return
        meter = rule.terms.meter
        spent = nano_usd(balance.spent) if meter is Meter.COST else int(balance.spent)
        limit = Limit(
            rule.id, meter, rule.terms.window, balance.scope, None, anchor=rule.terms.anchor
        )
        reservation = _balance_reservation(self._policy, limit, spent, self._now_us)
        hold_id = (await self._ledger.decide(reservation)).hold_id
        used = Usage(input_tokens=spent if meter is Meter.TOKENS else 0)
        cost = spent if meter is Meter.COST else 0
        await self._ledger.settle(hold_id, Settlement(used, cost, "ok", "", self._now_us))


def _outcomes_of_limits(
    evaluated: EvaluationResult, decision: Decision
) -> Iterator[tuple[str, str]]:
    """Yield which limits refused a call; if none that is enforced did, also which it fits."""
    refusing = {reason.rule for reason in (*decision.reasons, *decision.shadow_reasons)}
    for line in evaluated.lines:
        if line.limit.rule in refusing:
            yield line.limit.rule, REFUSES
        elif line.limit.ceiling is not None and decision.effect is Effect.ALLOW:
            yield line.limit.rule, FITS


def _balance_reservation(
    policy: PolicySet, limit: Limit, amount: int, now_us: int
) -> ReservationRequest:
    unused = Reason("", "", limit.rule, 429)
    line = ReservationLine(
        limit, amount, charge_on_expiry=True, shadow=False, refusal=lambda: unused
    )
    call = CallFacts(
        request_id="",
        fingerprint=b"",
        principal_id="balance",
        role="",
        workspace="",
        key_id="",
        model_requested="",
        model_id="",
        endpoint=Endpoint.CHAT,
        max_output_tokens=0,
        most=Usage(),
        terms=Terms(),
        cost_nano_usd=0,
        tariff=None,
        hold_ttl_us=HOLD_TTL_US,
    )
    return ReservationRequest(call, now_us, policy.digest, 1, (), (), (line,))


def _left(budget: Budget) -> str:
    if budget.remaining is None:
        return "unlimited"
    if budget.meter is Meter.COST:
        return format_usd(budget.remaining)
    return str(budget.remaining)


def _amount(wanted: Decimal, *, is_cost: bool) -> str:
    return format_usd(nano_usd(wanted)) if is_cost else str(int(wanted))
