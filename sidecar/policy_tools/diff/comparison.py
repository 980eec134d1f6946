"""The comparison of two policy sets: the diagram of the cases that they decide differently.

Each rule is evaluated once for each combination of what it reads. A rule that is the same in
both sets is evaluated once for both, and only if another rule differs.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import cast

from sidecar.policy_tools.diff.case_results import results
from sidecar.policy_tools.diff.cases import Case, Level
from sidecar.policy_tools.diff.decision_diagrams import Diagrams, Node, TooLargeError
from sidecar.policy_tools.diff.outcomes import ALLOWS, DENIED_IN_BOTH, NOTHING, Outcome, Part, total

MAX_EVALUATIONS = 200_000
"""Combinations of what each rule reads, summed over the rules; above it, a sample is tried."""

MAX_LEVELS = 200
"""Inputs that rules tell apart; above it, a sample is tried, as diagrams are as deep as that."""

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
        return self._combined(diagrams, pairs)

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
        levels = len(diagrams.levels)
        if levels > MAX_LEVELS or (levels > 1 and of > MAX_EVALUATIONS):
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

    def _combined(self, diagrams: Diagrams, pairs: Mapping[str, tuple[Node, Node]]) -> Node:
        """Return the diagram of the results of all parts in both sets, None where these agree."""
        nodes: list[Node] = []
        places: dict[str, tuple[int, int]] = {}
        for name, (one, other) in pairs.items():
            places[name] = (len(nodes), len(nodes) + (one is not other))
            nodes += [one] if one is other else [one, other]
        differing = [each for each in places.values() if each[0] != each[1]]
        replaced = self._replaced(diagrams, places)

        def simplify(left: tuple[Node, ...]) -> tuple[Node, ...]:
            """Drop the other unchanged rules once an unchanged rule denies: the result is known."""
            if not any(_denies(left[index]) for index in replaced):
                return left
            return tuple(replaced.get(index, node) for index, node in enumerate(left))

        def both(left: Sequence[Node]) -> Node | None:
            if all(left[one] is left[other] for one, other in differing):
                return diagrams.result(None)
            if any(node.children for node in left):
                return None
            outcomes = [cast("Outcome", node.result) for node in left]
            before = total({name: outcomes[one] for name, (one, _) in places.items()})
            after = total({name: outcomes[other] for name, (_, other) in places.items()})
            return diagrams.result(results(before, after))

        return diagrams.combine(nodes, both, simplify)

    def _replaced(
        self, diagrams: Diagrams, places: Mapping[str, tuple[int, int]]
    ) -> dict[int, Node]:
        """Return the outcomes to use in place of the unchanged rules, where one of them denies.

        Lookups are kept. So are allow rules, if any allow rule differs.
        """
        same = [name for name, (one, other) in places.items() if one == other]
        parts = {name: self._old.get(name) or self._new[name] for name in places}
        allowances = [name for name in places if parts[name].is_allowance]
        rules = [n for n in same if not (parts[n].is_allowance or parts[n].is_lookup)]
        found = {places[name][0]: diagrams.result(NOTHING) for name in rules}
        found |= {places[name][0]: diagrams.result(DENIED_IN_BOTH) for name in rules[:1]}
        if set(allowances) <= set(same):
            found |= {places[name][0]: diagrams.result(ALLOWS) for name in allowances}
        return found


def _denies(node: Node) -> bool:
    """Whether this is the outcome of a rule that denies."""
    return isinstance(node.result, Outcome) and bool(node.result.denied)
