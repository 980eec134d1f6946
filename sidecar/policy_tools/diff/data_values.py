"""Data values: each value that a part of a rule can have, where the data files decide that.

`role.name`, for example, can be the name of each role; `request.tokens` depends on the call.
"""

import itertools
import math
from dataclasses import replace
from typing import Any

from sidecar.policy.cel.cel_python import CelPythonEngine
from sidecar.policy.cel.engine import EvaluationError
from sidecar.policy.cel.syntax import Tree
from sidecar.policy.cel.variables import FROM_DATA, values_of
from sidecar.policy.policy_set import PolicySet
from sidecar.policy_tools.diff.dependencies import NO_KEY, UNKNOWN
from sidecar.v1 import policy_input_pb2 as policy_pb

MAX_COMBINATIONS = 2_000
"""Of roles, workspaces, models and keys, on which a part of a rule is evaluated."""


class DataValues:
    """Evaluates parts of rules that depend only on the data files of a policy set."""

    def __init__(self, policy: PolicySet) -> None:
        """Take the entries of the data files."""
        catalogue = policy.catalogue
        models = {model.message.id: model.message for model in catalogue.models.values()}
        self.parser = CelPythonEngine()
        self.limits = [rule.id for rule in policy.limits]
        self._lists = catalogue.lists
        self._entries: dict[str, list[Any]] = {
            "role": [role.message for role in catalogue.roles.values()],
            "workspace": list(catalogue.workspaces.values()),
            "model": list(models.values()),
            "key": [*catalogue.keys.values(), *map(catalogue.key, (NO_KEY, UNKNOWN))],
        }

    def values(self, tree: Tree) -> set[Any] | None:
        """Return every value that a part can have; None if it depends on the call.

        Of a list or a map, these are the items or keys.
        """
        names = {str(node.children[0]) for node in tree.iter_subtrees() if node.data == "ident"}
        reads = [name for name in self._entries if name in names]
        count = math.prod(len(self._entries[name]) for name in reads)
        if not names <= FROM_DATA or count > MAX_COMBINATIONS:
            return None
        found: set[Any] = set()
        for entries in itertools.product(*(self._entries[name] for name in reads)):
            nothing = values_of(
                policy_pb.Role(), policy_pb.Workspace(), policy_pb.Model(), self._lists
            )
            binding = self.parser.bind(replace(nothing, **dict(zip(reads, entries, strict=True))))
            try:
                value = self.parser.evaluate_part(tree, binding)
            except EvaluationError:
                continue
            found.update(value if isinstance(value, list | dict) else [value])
        return found
