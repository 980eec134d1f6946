"""The comparison of two policy sets: the diagram of the cases that they decide differently.

Each rule is evaluated once for each combination of what it reads, and one that is the same in
both sets once for both, if another one differs at all.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import cast

from sidecar.policy_tools.diff.case_results import results
from sidecar.policy_tools.diff.cases import Case, Level
from sidecar.policy_tools.diff.decision_diagrams import Diagrams, Node, TooLargeError
from sidecar.policy_tools.diff.outcomes import NOTHING, Outcome, Part, total

MAX_EVALUATIONS = 200_000
"""Combinations of what each rule reads, summed over the rules; above it, a sample is tried."""

MAX_NODES = 50_000
"""Of the diagram of all rules together; above it, a sample is tried."""

Progress = Callable[[int, int], None]
"""Is called with how many evaluations are done, and of how many."""


def unreported(_done: int, _of: int) -> None:
    """Report no progress."""


class Comparison:
    """Makes the diagram of the cases that two policy sets decide differently."""

    def __init__(
        self,
        old: Mapping[str, Part],
        new: Mapping[str, Part],
        same: set[str],
        progress: Progress,
    ) -> None:
        """Compare these parts; those that are the same need one evaluation."""
        self._old, self._new, self._same = old, new, same
        self._names = list(dict.fromkeys([*old, *new]))
        self._progress = progress
        self._done = 0
        self.differs = False
        """Whether any part differs, even if the others deny each case that it differs for."""

    def diagram(self, levels: Sequence[Level]) -> Node:
        """Return the diagram of both results of each case, None where they are the same.

        Raises TooLargeError, except for a single level.
        """
        diagrams = Diagrams(levels, MAX_NODES if len(levels) > 1 else len(levels[0]) + 2)
        pairs: dict[str, tuple[Node, Node]] = {}
        for is_same in (False, True):
            names = [name for name in self._names if (name in self._same) is is_same]
            pairs |= self._tables(diagrams, names)
            self.differs = any(one is not other for one, other in pairs.values())
            if not self.differs:
                return diagrams.result(None)
        return _combined(diagrams, pairs)

    def _tables(self, diagrams: Diagrams, names: Sequence[str]) -> dict[str, tuple[Node, Node]]:
        """Return the diagrams of parts in the old and the new set."""
        parts = {name: (self._old.get(name), self._new.get(name)) for name in names}
        to_do = [
            part
            for name, pair in parts.items()
            for part in pair[: 1 if name in self._same else 2]
            if part is not None
        ]
        of = self._done + sum(diagrams.size(part.inputs) for part in to_do)
        if len(diagrams.levels) > 1 and of > MAX_EVALUATIONS:
            raise TooLargeError

        def table(part: Part | None) -> Node:
            if part is None:
                return diagrams.result(NOTHING)
            done = self._done + diagrams.size(part.inputs)
            node = diagrams.table(part.inputs, partial(self._outcome, part, of))
            self._done = done
            return node

        found = {}
        for name, (one, other) in parts.items():
            before = table(one)
            found[name] = (before, before if name in self._same else table(other))
        return found

    def _outcome(self, part: Part, of: int, case: Case) -> Outcome:
        self._done += 1
        self._progress(self._done, of)
        return part.outcome(case)


def _combined(diagrams: Diagrams, pairs: Mapping[str, tuple[Node, Node]]) -> Node:
    """Return the diagram of what all parts come to in both sets, None where that is the same."""
    nodes = list(dict.fromkeys(node for pair in pairs.values() for node in pair))
    place = {node: index for index, node in enumerate(nodes)}
    places = [(name, place[one], place[other]) for name, (one, other) in pairs.items()]
    differing = [(one, other) for _, one, other in places if one != other]

    def both(left: Sequence[Node]) -> Node | None:
        if all(left[one] is left[other] for one, other in differing):
            return diagrams.result(None)
        if any(node.children for node in left):
            return None
        outcomes = [cast("Outcome", node.result) for node in left]
        before = total({name: outcomes[one] for name, one, _ in places})
        after = total({name: outcomes[other] for name, _, other in places})
        return diagrams.result(results(before, after))

    return diagrams.combine(nodes, both)
