"""Limits that a share of their ceiling leaves without room for a single call."""

from collections.abc import Iterator, Sequence

from sidecar.policy.files.problems import Problem
from sidecar.policy.lints.rule_source import RuleSource
from sidecar.policy.lints.tried import Tried
from sidecar.policy.policy_set import PolicySet
from sidecar.policy.rules import Rule


def left_with_nothing(policy: PolicySet) -> Iterator[tuple[Rule, int]]:
    """Yield each limit that has a ceiling of which the share is 0, with that ceiling.

    Only where the data files decide it; a ceiling that is 0 by itself may be meant.
    """
    tried = Tried(policy)
    for rule in policy.limits:
        for ceiling in tried.values(rule, rule.body.reads) if not rule.shadow else ():
            if isinstance(ceiling, int) and ceiling and not policy.share.of(ceiling):
                yield rule, ceiling
                break


def lint(sources: Sequence[RuleSource], policy: PolicySet) -> Iterator[Problem]:
    """Warn of each at its rule."""
    of_rule = {source.rule.id: source for source in sources}
    for rule, ceiling in left_with_nothing(policy):
        message = f"{policy.share} of the ceiling {ceiling} is 0, so every call is refused"
        hint = "raise the ceiling, or share among fewer"
        yield of_rule[rule.id].warn("limit-always-bites", message, hint)
