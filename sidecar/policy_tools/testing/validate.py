"""Validation of fixtures beyond their schema: invalid requests, unknown rules, wrong balances."""

from collections.abc import Iterable, Iterator
from decimal import Decimal

from mistral_spend.v1 import authorization_pb2 as pb

from sidecar.contract import validation
from sidecar.domain.decisions import Meter
from sidecar.domain.usage import Endpoint
from sidecar.policy.catalogue import UNKNOWN_KEY
from sidecar.policy.files.problems import Problem, did_you_mean
from sidecar.policy.files.yaml_file import Loc
from sidecar.policy.policy_set import PolicySet
from sidecar.policy.rules import Rule
from sidecar.policy.static_values import scopes_from_data
from sidecar.policy_tools.testing.fixture_file import (
    EXPECTED_OF,
    AuthorizeStep,
    BalanceEntry,
    Expectation,
    FixtureStep,
)
from sidecar.policy_tools.testing.fixtures import Fixture

NANO_USD = Decimal("1e-9")

MAX_BALANCE_USD = 999_999_999
MAX_BALANCE_COUNT = 10**15


def validate_fixtures(fixtures: Iterable[Fixture], policy: PolicySet | None) -> list[Problem]:
    """Return the fixtures' problems; without a policy set, only those of requests.

    Tests from rows of one `each` share their places, so equal problems are reported once.
    """
    found: dict[Problem, None] = {}
    for fixture in fixtures:
        for number, (_, step) in enumerate(fixture.steps):
            loc: Loc = ("steps", number)
            if step.authorize is not None:
                found |= dict.fromkeys(_malformed(fixture, loc, step.authorize, policy))
            found |= dict.fromkeys(_not_compared(fixture, loc, step))
            if policy is not None:
                found |= dict.fromkeys(_unknown_rules(fixture, loc, step.expect, policy))
                found |= dict.fromkeys(_never_fitting(fixture, loc, step.expect, policy))
                found |= dict.fromkeys(_inexact_amounts(fixture, loc, step.expect, policy))
        if policy is not None:
            found |= dict.fromkeys(_wrong_balances(fixture, policy))
    return list(found)


def request_of(step: AuthorizeStep) -> pb.AuthorizeRequest:
    """Return the request that a step makes."""
    request = pb.AuthorizeRequest(
        principal=pb.Principal(**step.principal.model_dump()),
        model=step.model,
        endpoint=f"ENDPOINT_{step.endpoint or 'UNSPECIFIED'}",
        estimate=pb.Estimate(**step.estimate.model_dump(exclude_none=True)),
        dry_run=step.dry_run,
    )
    if step.hold_ttl is not None:
        request.hold_ttl.FromMicroseconds(step.hold_ttl)
    return request


def _malformed(
    fixture: Fixture, loc: Loc, step: AuthorizeStep, policy: PolicySet | None
) -> Iterator[Problem]:
    if policy is None and not step.endpoint:
        return  # the default endpoint depends on the model
    default_endpoint = Endpoint.CHAT if policy is None else policy.catalogue.endpoint(step.model)
    try:
        validation.check_authorize(request_of(step), default_endpoint)
    except validation.InvalidFieldError as error:
        yield fixture.problem((*loc, "authorize", *error.field.split(".")), str(error))


def _not_compared(fixture: Fixture, loc: Loc, step: FixtureStep) -> Iterator[Problem]:
    """Find expectations of what a step of this kind does not result in."""
    expected = EXPECTED_OF[step.kind]
    if not expected and "expect" in step.model_fields_set:
        message = f"'{step.kind}' has no result, so this is not compared"
        hint = "expect it of the next step"
        yield fixture.problem((*loc, "expect"), message, hint, at_key=True)
        return
    for name in sorted(step.expect.model_fields_set - expected):
        message = f"'{step.kind}' has no '{name}' as a result, so this is not compared"
        hint = f"known: {', '.join(sorted(expected))}"
        yield fixture.problem((*loc, "expect", name), message, hint, at_key=True)


def _inexact_amounts(
    fixture: Fixture, loc: Loc, expected: Expectation, policy: PolicySet
) -> Iterator[Problem]:
    """Find amounts with more decimals than what they are compared with can have."""
    meters = {rule.id: rule.terms.meter for rule in policy.limits}
    amounts: list[tuple[Loc, object, Meter]] = [
        (("held_usd",), expected.held_usd, Meter.COST),
        (("charged_usd",), expected.charged_usd, Meter.COST),
    ]
    amounts += [
        (("remaining", name), left, meters.get(name, Meter.COST))
        for name, left in expected.remaining.items()
    ]
    for place, amount, meter in amounts:
        if isinstance(amount, Decimal) and (wrong := _inexact(amount, meter)):
            yield fixture.problem((*loc, "expect", *place), wrong)


def _inexact(amount: Decimal, meter: Meter) -> str:
    """Return why a limit of this meter never counts this amount, "" if it can."""
    smallest = NANO_USD if meter is Meter.COST else Decimal(1)
    if amount == amount.quantize(smallest):
        return ""
    if meter is Meter.COST:
        return "cost is counted in USD with at most nine decimals"
    return f"a limit of {meter.value} counts whole numbers"


def _unknown_rules(
    fixture: Fixture, loc: Loc, expected: Expectation, policy: PolicySet
) -> Iterator[Problem]:
    known = {rule.id for rule in policy.rules}
    for key, names in (("rules", expected.rules), ("shadow", expected.shadow)):
        for index, name in enumerate(names or ()):
            if name and name not in known:  # the sidecar's own reasons have no rule
                message, hint = f"no rule is named '{name}'", did_you_mean(name, known)
                yield fixture.problem((*loc, "expect", key, index), message, hint)
    for name in expected.remaining:
        place = (*loc, "expect", "remaining", name)
        yield from _no_limit(fixture, place, name, policy, at_key=True)


def _never_fitting(
    fixture: Fixture, loc: Loc, expected: Expectation, policy: PolicySet
) -> Iterator[Problem]:
    """Find models that no response names, which has ids alone."""
    models = policy.catalogue.models
    ids = {model.message.id for model in models.values()}
    for index, name in enumerate(expected.fitting_models or ()):
        if name not in ids:
            message, hint = f"no model has the id '{name}'", did_you_mean(name, ids)
            if name in models:
                hint = f"its id is '{models[name].message.id}'"
            yield fixture.problem((*loc, "expect", "fitting_models", index), message, hint)


def _wrong_balances(fixture: Fixture, policy: PolicySet) -> Iterator[Problem]:
    limits = {rule.id: rule for rule in policy.limits}
    spent: dict[tuple[str, str], Decimal] = {}
    for index, balance in enumerate(fixture.balances):
        loc: Loc = ("balances", index)
        yield from _no_limit(fixture, (*loc, "rule"), balance.rule, policy)
        if balance.rule in limits:
            key = balance.rule, balance.scope
            spent[key] = spent.get(key, Decimal()) + balance.spent
            if wrong := _wrong_amount(balance, limits[balance.rule], spent[key]):
                yield fixture.problem((*loc, "spent"), wrong)
            yield from _unknown_scope(
                fixture, (*loc, "scope"), balance, limits[balance.rule], policy
            )


def _unknown_scope(
    fixture: Fixture, loc: Loc, balance: BalanceEntry, rule: Rule, policy: PolicySet
) -> Iterator[Problem]:
    """Find a scope that the limit never counts, as far as the data files say."""
    per, known = rule.terms.per, scopes_from_data(policy, rule)
    if per.field in (("principal", "key_id"), ("key", "id")):
        if policy.catalogue.key(balance.scope).state != UNKNOWN_KEY:
            return
        # An unknown key is counted, too, where no rule denies it.
        calls = (step.authorize for _, step in fixture.steps)
        known |= {call.principal.key_id for call in calls if call}
    if known and balance.scope not in known:
        message = f"{rule.id} counts by {per.source.strip()}, which is never '{balance.scope}'"
        yield fixture.problem(loc, message, did_you_mean(balance.scope, known))


def _wrong_amount(balance: BalanceEntry, rule: Rule, total: Decimal) -> str:
    """Return why a limit cannot have spent this total, "" if it can."""
    meter = rule.terms.meter
    if inexact := _inexact(balance.spent, meter):
        return inexact
    if meter is Meter.COST:
        return (
            f"a limit of cost counts at most {MAX_BALANCE_USD:,} USD"
            if total > MAX_BALANCE_USD
            else ""
        )
    return f"a limit counts at most {MAX_BALANCE_COUNT:,}" if total > MAX_BALANCE_COUNT else ""


def _no_limit(
    fixture: Fixture, loc: Loc, name: str, policy: PolicySet, *, at_key: bool = False
) -> Iterator[Problem]:
    if any(rule.id == name for rule in policy.limits):
        return
    effect = next((rule.effect.value for rule in policy.rules if rule.id == name), "")
    article = "an" if effect == "allow" else "a"
    message, hint = f"{name} is {article} {effect} rule, not a limit", ""
    if not effect:
        message = f"no limit is named '{name}'"
        hint = did_you_mean(name, (rule.id for rule in policy.limits))
    yield fixture.problem(loc, message, hint, at_key=at_key)
