"""The rules of a policy set at work on one call."""

import contextlib
import math
from dataclasses import dataclass
from decimal import Decimal
from typing import NamedTuple

from sidecar.domain.decisions import Limit, Meter, Reason
from sidecar.domain.money import nano_usd
from sidecar.policy.catalogue import UNKNOWN_KEY
from sidecar.policy.cel.engine import EvaluationError, Result
from sidecar.policy.cel.variables import Values
from sidecar.policy.policy_set import PolicySet, Residual, ResidualLimit
from sidecar.policy.rules import Expression, Message, Rule

UNLIMITED_FROM = 10**18
"""A ceiling this high, in tokens or in nano-USD, is none: nothing can reach it."""


class AppliedLimit(NamedTuple):
    """A limit's rule, with what it comes to for one call."""

    rule: Rule
    limit: Limit


@dataclass(frozen=True, slots=True)
class RuleVerdict:
    """What the rules say about one call. Without reasons, the limits decide."""

    reasons: tuple[Reason, ...]
    shadow_reasons: tuple[Reason, ...]


class Evaluation:
    """The rules at work on one call."""

    def __init__(self, policy: PolicySet, values: Values) -> None:
        """Bind the values once for every expression."""
        self._values = values
        self._binding = policy.engine.bind(values)
        self._policy = policy
        entries = (values.role.name, values.workspace.name, values.model.id, values.key.id)
        known = policy.residuals.get(entries)
        if known is None:
            known = self._partially_evaluate(policy)
            if values.key.state != UNKNOWN_KEY:  # those that callers make up are endless
                policy.remember(entries, known)
        self._rules = known

    def value(self, expression: Expression) -> Result:
        """Return the value for this call. Raises EvaluationError."""
        if expression.field is not None:  # most scopes are: no need to ask an engine
            variable, name = expression.field
            text: str = getattr(getattr(self._values, variable), name)
            return text
        return expression.program.evaluate(self._binding)

    def limits(self) -> tuple[list[AppliedLimit], list[Reason]]:
        """Return every limit with its scope and ceiling, and a reason for each that fails."""
        applied, failed = [], []
        for known in self._rules.limits:
            try:
                applied.append(AppliedLimit(known.rule, known.limit or self._limit(known)))
            except EvaluationError:
                if not known.rule.shadow:
                    failed.append(policy_error(known.rule))
        return applied, failed

    def verdict(self) -> RuleVerdict:
        """Default deny; any deny rule denies, and one that fails denies too."""
        reasons: list[Reason] = []
        shadow_reasons: list[Reason] = []
        none = all(one.none(self._binding) for one in self._policy.any_denial_of_calls)
        for rule in self._rules.certain_denials if none else self._rules.denials:
            reason = self._denial(rule)
            if reason is not None:
                (shadow_reasons if rule.shadow else reasons).append(reason)
        if not self._rules.allowed and not any(map(self._holds, self._rules.allowances)):
            reasons.append(self._nobody_allows())
            shadow_reasons += [
                Reason("WOULD_ALLOW", f"rule {rule.id} would allow this", rule.id, 200)
                for rule in self._policy.trial_allowances
                if self._holds(rule)
            ]
        return RuleVerdict(tuple(reasons), tuple(shadow_reasons))

    def reason(self, rule: Rule) -> Reason:
        """Write a rule's reason for this call."""
        return Reason(rule.reason, self._text(rule.message), rule.id, rule.http_status)

    def _partially_evaluate(self, policy: PolicySet) -> Residual:
        certain = [
            rule
            for rule in policy.denials
            if rule.body.from_data and self._denial(rule) is not None
        ]
        by_data = [rule for rule in policy.allowances if rule.body.from_data]
        return Residual(
            denials=tuple(
                rule for rule in policy.denials if not rule.body.from_data or rule in certain
            ),
            certain_denials=tuple(certain),
            allowed=any(map(self._holds, by_data)),
            allowances=tuple(rule for rule in policy.allowances if not rule.body.from_data),
            limits=tuple(self._residual_limit(rule) for rule in policy.limits),
        )

    def _residual_limit(self, rule: Rule) -> ResidualLimit:
        """Find the ceiling, or the whole limit, where the data files decide it."""
        known = ResidualLimit(rule, None, None)
        with contextlib.suppress(EvaluationError):  # it fails again for each call
            if rule.body.from_data:
                known = ResidualLimit(rule, (self._ceiling(rule),), None)
                if rule.terms.per.from_data:
                    known = ResidualLimit(rule, known.ceiling, self._limit(known))
        return known

    def _nobody_allows(self) -> Reason:
        role, workspace = self._values.role.name, self._values.workspace.name
        message = f"no allow rule lets role {role} into workspace {workspace} with this request"
        return Reason("NO_RULE_ALLOWS", message, "", 403)

    def _limit(self, known: ResidualLimit) -> Limit:
        rule, terms = known.rule, known.rule.terms
        whole = known.ceiling[0] if known.ceiling else self._ceiling(rule)
        ceiling = self._policy.share.of(whole)  # the only place that divides
        scope = str(self.value(terms.per))
        return Limit(rule.id, terms.meter, terms.window, scope, ceiling, whole)

    def _ceiling(self, rule: Rule) -> int | None:
        """Return what the rule yields: the ceiling of all shares together."""
        return ceiling_of(self.value(rule.body), rule.terms.meter)

    def _holds(self, rule: Rule) -> bool:
        """An allow rule that fails does not allow."""
        try:
            return self.value(rule.body) is True
        except EvaluationError:
            return False

    def _denial(self, rule: Rule) -> Reason | None:
        try:
            return self.reason(rule) if self.value(rule.body) else None
        except EvaluationError:
            return policy_error(rule)

    def _text(self, message: Message) -> str:
        """Fill in a message; one that fails stays as it is written, and never blocks."""
        try:
            return "".join(
                part if isinstance(part, str) else _for_people(self.value(part))
                for part in message.parts
            )
        except EvaluationError:
            return message.plain


def ceiling_of(value: Result, meter: Meter) -> int | None:
    """Convert what a limit yields to a ceiling: requests, tokens or nano-USD.

    Fractions round down and negative ceilings are 0: nothing fits. None is
    unlimited. Raises EvaluationError for what is no number.
    """
    if isinstance(value, str | bool) or math.isnan(value):
        raise EvaluationError
    if value <= 0:
        return 0
    if math.isinf(value):
        return None
    exact = Decimal(repr(value))
    ceiling = nano_usd(exact) if meter is Meter.COST else int(exact)
    return None if ceiling >= UNLIMITED_FROM else ceiling


def policy_error(rule: Rule) -> Reason:
    """Say that a rule failed, without a word of what it was given."""
    return Reason("POLICY_ERROR", f"rule {rule.id} cannot be evaluated", rule.id, 500)


def _for_people(value: Result) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return f"{value:g}" if isinstance(value, float) else str(value)
