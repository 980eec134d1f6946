"""Decision diagrams: functions of a case, with equal parts shared.

A node decides on one level of a case, and has a child for each of its values. A level that
makes no difference has no node, and equal nodes are one object. So a function of a few inputs
is small however many cases there are, and two functions are equal if their nodes are one.
"""

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass

from sidecar.policy_tools.diff.cases import Case, Level
from sidecar.policy_tools.diff.dependencies import Input


class TooLargeError(Exception):
    """A diagram would have more nodes than the bound."""


@dataclass(frozen=True, slots=True, eq=False)
class Node:
    """A decision on a level, or a result: then `level` is the number of levels."""

    level: int
    children: tuple["Node", ...]
    result: Hashable = None

    def child(self, level: int, index: int) -> "Node":
        """Return what is left for a value of this level, which may make no difference."""
        return self.children[index] if self.level == level else self


class Diagrams:
    """Makes the diagrams of functions over the same levels."""

    def __init__(self, levels: Sequence[Level], max_nodes: int) -> None:
        """Start without any node."""
        self.levels = levels
        self._max_nodes = max_nodes
        self._results: dict[Hashable, Node] = {}
        self._nodes: dict[tuple[int, tuple[Node, ...]], Node] = {}

    def size(self, inputs: frozenset[Input]) -> int:
        """Return how many combinations there are of the levels that these inputs are in."""
        count = 1
        for level in self.levels:
            count *= len(level) if not inputs.isdisjoint(level[0]) else 1
        return count

    def table(self, inputs: frozenset[Input], function: Callable[[Case], Hashable]) -> Node:
        """Return the diagram of a function of these inputs, called once for each combination."""
        known: dict[frozenset[tuple[Input, object]], Node] = {}

        def build(level: int, case: dict[Input, object]) -> Node:
            while level < len(self.levels) and inputs.isdisjoint(self.levels[level][0]):
                level += 1
            if level < len(self.levels):
                here = [input_ for input_ in inputs if input_ in self.levels[level][0]]
                return self._branch(
                    level,
                    tuple(
                        build(level + 1, {**case, **{each: part[each] for each in here}})
                        for part in self.levels[level]
                    ),
                )
            read = frozenset(case.items())
            if read not in known:
                known[read] = self.result(function(case))
            return known[read]

        return build(0, {})

    def combine(
        self,
        nodes: Sequence[Node],
        function: Callable[[Sequence[Node]], Node | None],
        simplify: Callable[[tuple[Node, ...]], tuple[Node, ...]],
    ) -> Node:
        """Return the diagram of a function of other diagrams' results.

        The function is called with what is left of each diagram, and returns None where that
        does not suffice. Before, `simplify` may replace what makes no difference any more, so
        that there is less to tell apart. Raises TooLargeError.
        """
        known: dict[tuple[Node, ...], Node] = {}

        def build(left: tuple[Node, ...]) -> Node:
            left = simplify(left)
            found = known.get(left)
            if found is None:
                found = function(left)
                if found is None:
                    level = min(node.level for node in left)
                    found = self._branch(
                        level,
                        tuple(
                            build(tuple(node.child(level, index) for node in left))
                            for index in range(len(self.levels[level]))
                        ),
                    )
                if len(known) >= self._max_nodes:
                    raise TooLargeError
                known[left] = found
            return found

        return build(tuple(nodes))

    def result(self, value: Hashable) -> Node:
        """Return the node of a result."""
        return self._results.setdefault(value, Node(len(self.levels), (), value))

    def _branch(self, level: int, children: tuple[Node, ...]) -> Node:
        """Return the node with these children; if all are the same node, return that one."""
        if all(child is children[0] for child in children):
            return children[0]
        return self._nodes.setdefault((level, children), Node(level, children))
