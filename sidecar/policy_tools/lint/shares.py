"""Lint of limits of which this sidecar's share is 0."""

from collections.abc import Iterator, Sequence

from sidecar.policy.files.problems import Problem
from sidecar.policy.policy_set import PolicySet
from sidecar.policy.static_values import limits_without_room
from sidecar.policy_tools.lint.rule_source import RuleSource


def lint(sources: Sequence[RuleSource], policy: PolicySet) -> Iterator[Problem]:
    """Warn of each limit of which the share is 0."""
    of_rule = {source.rule.id: source for source in sources}
    for rule, ceiling in limits_without_room(policy):
        message = f"{policy.share} of the ceiling {ceiling} is 0, so every call is denied"
        hint = "raise the ceiling, or share it among fewer sidecars"
        yield of_rule[rule.id].warn("limit-always-bites", message, hint)
