"""What rules come to for every entry of the data files that they read."""

import itertools
from collections.abc import Iterator
from typing import Any

from sidecar.policy.cel.engine import EvaluationError
from sidecar.policy.cel.variables import FROM_DATA, values_of
from sidecar.policy.evaluation import ceiling_of
from sidecar.policy.policy_set import PolicySet
from sidecar.policy.rules import Rule
from sidecar.v1 import policy_input_pb2 as policy_pb

MAX_COMBINATIONS = 2_000
"""How many roles with workspaces and models a rule is tried on; of more, nothing is said."""

FINITE = FROM_DATA - {"key"}
"""Variables of which every value can be tried."""

FAILED = "error"
"""What a rule that fails comes to."""


class StaticValues:
    """Tries rules that read the data files alone."""

    def __init__(self, policy: PolicySet) -> None:
        """Bind what there is when it is first asked for."""
        self._policy = policy
        catalogue = policy.catalogue
        models = {model.message.id: model.message for model in catalogue.models.values()}
        self._roles = [role.message for role in catalogue.roles.values()]
        self._workspaces = list(catalogue.workspaces.values())
        self._models = list(models.values())
        self._bindings: dict[frozenset[str], list[Any]] = {}

    def values(self, rule: Rule, reads: frozenset[str]) -> Iterator[object]:
        """Yield what a rule comes to for each combination of the variables that count.

        They have to be at least those that the rule reads. Nothing is yielded where it
        reads a call, or where there are too many combinations.
        """
        for binding in self._bound(reads) if reads <= FINITE else []:
            try:
                value = rule.body.program.evaluate(binding)
                yield value if rule.limit is None else ceiling_of(value, rule.limit.meter)
            except EvaluationError:
                yield FAILED

    def _bound(self, reads: frozenset[str]) -> list[Any]:
        if reads not in self._bindings:
            roles = self._roles if "role" in reads else [policy_pb.Role()]
            workspaces = self._workspaces if "workspace" in reads else [policy_pb.Workspace()]
            models = self._models if "model" in reads else [policy_pb.Model()]
            few = len(roles) * len(workspaces) * len(models) <= MAX_COMBINATIONS
            self._bindings[reads] = [
                self._policy.engine.bind(values_of(*entries))
                for entries in itertools.product(roles, workspaces, models)
                if few
            ]
        return self._bindings[reads]


def limits_without_room(policy: PolicySet) -> Iterator[tuple[Rule, int]]:
    """Yield each limit that has a ceiling of which the share is 0, with that ceiling.

    Only where the data files decide it; a ceiling that is 0 by itself may be meant.
    """
    tried = StaticValues(policy)
    for rule in policy.limits:
        for ceiling in tried.values(rule, rule.body.reads) if not rule.shadow else ():
            if isinstance(ceiling, int) and ceiling and not policy.share.of(ceiling):
                yield rule, ceiling
                break
