"""Evaluation of a policy set's rules for one call."""

import contextlib
import math
from dataclasses import dataclass
from decimal import Decimal
from typing import NamedTuple

from sidecar.domain.decisions import Limit, Meter, Reason
from sidecar.domain.money import nano_usd
from sidecar.policy.catalogue import UNKNOWN_KEY
from sidecar.policy.cel.engine import EvaluationError, Result
from sidecar.policy.cel.variables import Values, number_text
from sidecar.policy.expressions import Expression
from sidecar.policy.policy_set import PolicySet, Residual, ResidualLimit
from sidecar.policy.rules import Message, Rule

UNLIMITED_FROM = 10**18
"""A ceiling from here on, in requests, tokens or nano-USD, is unreachable, so unlimited."""


class AppliedLimit(NamedTuple):
    """A limit rule, and the limit that it yields for one call."""

    rule: Rule
    limit: Limit


@dataclass(frozen=True, slots=True)
class RuleVerdict:
    """The result of the allow and deny rules. Without reasons, the limits decide."""

    reasons: tuple[Reason, ...]
    shadow_reasons: tuple[Reason, ...]


class Evaluation:
    """The evaluation of all rules for one call."""

    def __init__(self, policy: PolicySet, values: Values) -> None:
        """Bind the values for all expressions."""
        self._values = values
        self._binding = policy.engine.bind(values)
        self._policy = policy
        entries = (values.role.name, values.workspace.name, values.model.id, values.key.id)
        residual = policy.residuals.get(entries)
        if residual is None:
            residual = self._partially_evaluate(policy)
            if values.key.state != UNKNOWN_KEY:  # callers can make up any number of these
                policy.cache_residual(entries, residual)
        self._rules = residual

    def value(self, expression: Expression) -> Result:
        """Return the value for this call. Raises EvaluationError."""
        if expression.field is not None:  # most scopes are plain fields, read without an engine
            variable, name = expression.field
            text: str = getattr(getattr(self._values, variable), name)
            return text
        return expression.program.evaluate(self._binding)

    def limits(self) -> tuple[list[AppliedLimit], list[Reason]]:
        """Return each limit with its scope and ceiling, and a reason for each that fails."""
        applied, failed = [], []
        for residual in self._rules.limits:
            try:
                applied.append(AppliedLimit(residual.rule, residual.limit or self._limit(residual)))
            except EvaluationError:
                if not residual.rule.shadow:
                    failed.append(policy_error(residual.rule))
        return applied, failed

    def verdict(self) -> RuleVerdict:
        """Deny by default, and if any deny rule is true or fails."""
        reasons: list[Reason] = []
        shadow_reasons: list[Reason] = []
        # If no deny rule that reads the request is true or fails, the certain ones are left.
        none = all(any_of.none(self._binding) for any_of in self._policy.request_denials)
        for rule in self._rules.certain_denials if none else self._rules.denials:
            reason = self._denial(rule)
            if reason is not None:
                (shadow_reasons if rule.shadow else reasons).append(reason)
        if not self._rules.allowed and not any(map(self._holds, self._rules.allowances)):
            reasons.append(self._no_rule_allows())
            shadow_reasons += [
                Reason("WOULD_ALLOW", f"rule {rule.id} would allow this call", rule.id, 200)
                for rule in self._policy.shadow_allowances
                if self._holds(rule)
            ]
        return RuleVerdict(tuple(reasons), tuple(shadow_reasons))

    def reason(self, rule: Rule) -> Reason:
        """Return a rule's reason to deny this call."""
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
        """Evaluate the ceiling, or the whole limit, where it depends on the data files alone."""
        residual = ResidualLimit(rule, None, None)
        with contextlib.suppress(EvaluationError):  # it fails again for each call
            if rule.body.from_data:
                residual = ResidualLimit(rule, (self._ceiling(rule),), None)
                if rule.terms.per.from_data:
                    residual = ResidualLimit(rule, residual.ceiling, self._limit(residual))
        return residual

    def _no_rule_allows(self) -> Reason:
        role, workspace = self._values.role.name, self._values.workspace.name
        message = f"no allow rule allows this request for role {role} in workspace {workspace}"
        return Reason("NO_RULE_ALLOWS", message, "", 403)

    def _limit(self, residual: ResidualLimit) -> Limit:
        rule, terms = residual.rule, residual.rule.terms
        whole = residual.ceiling[0] if residual.ceiling else self._ceiling(rule)
        ceiling = self._policy.share.of(whole)  # the only place that applies the share
        scope = str(self.value(terms.per))
        return Limit(rule.id, terms.meter, terms.window, scope, ceiling, whole, terms.anchor)

    def _ceiling(self, rule: Rule) -> int | None:
        """Return the ceiling of all shares together."""
        return ceiling_of(self.value(rule.body), rule.terms.meter)

    def _holds(self, rule: Rule) -> bool:
        """Whether an allow rule is true; one that fails is not."""
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
        """Fill in a message's placeholders; if one fails, return the message as written."""
        try:
            return "".join(
                part if isinstance(part, str) else _display(self.value(part))
                for part in message.parts
            )
        except EvaluationError:
            return message.plain


def ceiling_of(value: Result, meter: Meter) -> int | None:
    """Convert a limit's value to a ceiling in requests, tokens or nano-USD; None is unlimited.

    Fractions are rounded down, and negative values become 0. Raises EvaluationError if
    the value is not a number.
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
    """Return the reason for a rule that failed; it contains no value of the request."""
    return Reason("POLICY_ERROR", f"rule {rule.id} cannot be evaluated", rule.id, 500)


def _display(value: Result) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return value if isinstance(value, str) else number_text(value)
