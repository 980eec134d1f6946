"""Static values: what rules yield for every combination of the data files' entries."""

import contextlib
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
"""Combinations of role, workspace and model that are evaluated; with more, none is."""

ENUMERABLE = FROM_DATA - {"key"}
"""Variables whose values can all be enumerated."""

_ENTRIES = {
    ("principal", "role"): "roles",
    ("principal", "workspace"): "workspaces",
    ("request", "model"): "models",
    ("principal", "key_id"): "keys",
    ("key", "id"): "keys",
}
"""Fields that name an entry, and the entries of the catalogue."""

FAILED = "error"
"""The value of a rule that fails."""


class StaticValues:
    """Evaluates rules that read the data files alone."""

    def __init__(self, policy: PolicySet) -> None:
        """Collect the entries; combinations are bound on first use."""
        self._policy = policy
        catalogue = policy.catalogue
        models = {model.message.id: model.message for model in catalogue.models.values()}
        self._roles = [role.message for role in catalogue.roles.values()]
        self._workspaces = list(catalogue.workspaces.values())
        self._models = list(models.values())
        self._bindings: dict[frozenset[str], list[Any]] = {}

    def values(self, rule: Rule, reads: frozenset[str]) -> Iterator[object]:
        """Yield a rule's value for each combination of these variables' entries.

        `reads` has to contain every variable of the rule. Nothing is yielded if the rule
        reads the request, or if there are too many combinations.
        """
        for binding in self._bound(reads) if reads <= ENUMERABLE else []:
            try:
                value = rule.body.program.evaluate(binding)
                yield value if rule.limit is None else ceiling_of(value, rule.limit.meter)
            except EvaluationError:
                yield FAILED

    def scopes(self, rule: Rule) -> Iterator[str]:
        """Yield what a limit counts for, for each combination of the entries that it reads.

        Nothing is yielded if that depends on the request, or if there are too many combinations.
        """
        per = rule.terms.per
        for binding in self._bound(per.reads) if per.reads <= ENUMERABLE else []:
            with contextlib.suppress(EvaluationError):
                yield str(per.program.evaluate(binding))

    def _bound(self, reads: frozenset[str]) -> list[Any]:
        if reads not in self._bindings:
            roles = self._roles if "role" in reads else [policy_pb.Role()]
            workspaces = self._workspaces if "workspace" in reads else [policy_pb.Workspace()]
            models = self._models if "model" in reads else [policy_pb.Model()]
            few = len(roles) * len(workspaces) * len(models) <= MAX_COMBINATIONS
            self._bindings[reads] = [
                self._policy.engine.bind(values_of(*entries, self._policy.catalogue.lists))
                for entries in itertools.product(roles, workspaces, models)
                if few
            ]
        return self._bindings[reads]


def scopes_from_data(policy: PolicySet, rule: Rule) -> frozenset[str]:
    """Return all that a limit can count for, by the data files; empty where requests decide it.

    Keys are not all: one without an entry is counted, too, where no rule denies it.
    """
    entries = _ENTRIES.get(rule.terms.per.field or ("", ""))
    if entries is not None:
        return frozenset(getattr(policy.catalogue, entries))
    return frozenset(StaticValues(policy).scopes(rule))


def limits_without_room(policy: PolicySet) -> Iterator[tuple[Rule, int]]:
    """Yield each limit with a ceiling of which this sidecar's share is 0, and that ceiling.

    Only ceilings from the data files are known here; one that is 0 itself may be intended.
    """
    static = StaticValues(policy)
    for rule in policy.limits:
        for ceiling in static.values(rule, rule.body.reads) if not rule.shadow else ():
            if isinstance(ceiling, int) and ceiling and not policy.share.of(ceiling):
                yield rule, ceiling
                break
