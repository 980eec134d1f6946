"""The conditions that a rule's expression joins by `&&`, and which of them data files decide."""

from collections.abc import Mapping, Sequence
from types import MappingProxyType

from sidecar.policy.cel.cel_python import CelPythonEngine, roots
from sidecar.policy.cel.engine import EvaluationError
from sidecar.policy.cel.syntax import Tree, bare, children
from sidecar.policy.cel.variables import LISTS, UNLIMITED, values_of
from sidecar.policy.rules import Rule
from sidecar.policy_tools.format import in_line
from sidecar.v1 import policy_input_pb2 as policy_pb

KNOWN = frozenset({"role", "workspace", LISTS, UNLIMITED})
"""The variables whose values the data files alone determine."""


class Conditions:
    """The conditions of one rule, which all have to be true."""

    def __init__(
        self, rule: Rule, lists: Mapping[str, Sequence[str]] = MappingProxyType({})
    ) -> None:
        """Split the rule's expression at each `&&` that is not inside another operator."""
        self._lists = lists
        self._parser = CelPythonEngine()
        source = rule.body.source
        trees = _conjuncts(self._parser.parse(source))
        self.texts = frozenset(
            in_line(source[tree.meta.start_pos : tree.meta.end_pos]) for tree in trees
        ) - {"true"}
        self._known = [tree for tree in trees if roots(tree) <= KNOWN]

    def may_be_true(self, role: policy_pb.Role, workspace: policy_pb.Workspace) -> bool:
        """Whether all can be true for a call of this role in this workspace."""
        binding = self._parser.bind(values_of(role, workspace, policy_pb.Model(), self._lists))
        return not any(self._is_false(tree, binding) for tree in self._known)

    def _is_false(self, tree: Tree, binding: object) -> bool:
        try:
            return self._parser.evaluate_part(tree, binding) is False  # type: ignore[arg-type]
        except EvaluationError:
            return False


def _conjuncts(tree: Tree) -> list[Tree]:
    """Return the operands of `&&`, through brackets."""
    tree = bare(tree)
    if tree.data != "conditionaland":
        return [tree]
    return [part for child in children(tree) for part in _conjuncts(child)]
