"""Changes: cases that are decided differently, grouped by the difference they have.

An example. The new policy set has a rule `no-teams` more, which denies

    "team" in principal.labels && principal.labels.team in ["ops", "web"]

With one role, one workspace and two models, four cases are decided differently:

    role    workspace  labels    model    before   after
    tester  lab        team=ops  free-1   allowed  denied by no-teams
    tester  lab        team=ops  small-1  allowed  denied by no-teams
    tester  lab        team=web  free-1   allowed  denied by no-teams
    tester  lab        team=web  small-1  allowed  denied by no-teams

They are one Change: its `models` are ("free-1", "small-1"), its `choices` are
(("team", ("ops", "web")),). If the rule named the team web alone, its `labels` would be
(("team", "web"),).
"""

import math
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from sidecar.domain.usage import Endpoint
from sidecar.policy_tools.diff.case_results import CaseResult
from sidecar.policy_tools.diff.cases import Call, Case, Labels, Level, labels_of, spent_of
from sidecar.policy_tools.diff.decision_diagrams import Node
from sidecar.policy_tools.diff.dependencies import CALL, KEY, LABEL, ROLE, WORKSPACE


@dataclass(frozen=True, slots=True)
class Change:
    """One difference between the decisions, and all callers and models that it applies to.

    `labels` are those that all these callers have; `only` says whether it applies to every
    caller with these labels. `choices` has the possible values of each label, if these are not
    all values; None means that the label is missing. `every` says whether it applies to every
    combination of these values. `keys` are the callers' keys, "" for none. `spent` is what is
    spent of the limits that rules read. A model has its endpoint in brackets, except for chat.
    """

    role: str
    workspace: str
    labels: Labels
    only: bool
    keys: tuple[str, ...]
    spent: tuple[str, ...]
    models: tuple[str, ...]
    before: CaseResult
    after: CaseResult
    choices: tuple[tuple[str, tuple[str | None, ...]], ...] = ()
    every: bool = False


class _Row(NamedTuple):
    """A change without its role, workspace and labels."""

    keys: tuple[str, ...]
    spent: tuple[str, ...]
    models: tuple[str, ...]
    before: CaseResult
    after: CaseResult


class _LabelSets(NamedTuple):
    """The combinations of labels that lead to a row: their number, and the values in them.

    A value of None stands for a label that is missing.
    """

    number: int
    seen: frozenset[tuple[str, str | None]]


def changes_of(root: Node, levels: Sequence[Level]) -> Iterator[Change]:
    """Return the changes of a diagram, whose levels are those of a CaseSpace, in its order."""
    below: dict[tuple[Node, int], dict[_Row, _LabelSets]] = {}
    label_sizes = {
        name: len(level) for level in levels for (kind, name) in level[0] if kind == LABEL
    }

    def rows(node: Node, level: int) -> dict[_Row, _LabelSets]:
        """Return the rows of a node on a level of labels, with the labels that lead to each."""
        if (node, level) not in below:
            found: dict[_Row, _LabelSets] = {}
            below[node, level] = found
            if level - 2 == len(label_sizes):
                found |= dict.fromkeys(_rows(_differing(node, level, levels)), _NO_LABELS)
            else:
                for index, part in enumerate(levels[level]):
                    for row, sets in rows(node.child(level, index), level + 1).items():
                        count, seen = found.get(row, (0, frozenset()))
                        here = {(name, text) for (_, name), text in part.items()}
                        found[row] = _LabelSets(count + sets.number, seen | sets.seen | here)
        return below[node, level]

    for role_index, role in enumerate(levels[0]):
        for index, workspace in enumerate(levels[1]):
            node = root.child(0, role_index).child(1, index)
            for row, sets in rows(node, 2).items():
                yield _change(role[ROLE], workspace[WORKSPACE], row, sets, label_sizes)


def changes_of_sample(root: Node, sample: Level) -> Iterator[Change]:
    """Return the changes of a diagram over a sample, its only level."""
    callers = _gather(
        ((case[ROLE], case[WORKSPACE], labels_of(case)), (case, node.result))
        for index, case in enumerate(sample)
        for node in [root.child(0, index)]
        if node.result is not None
    )
    labels = _gather(
        ((role, workspace, row), set(labels))
        for (role, workspace, labels), found in callers.items()
        for row in _rows(found)
    )
    for (role, workspace, row), sets in sorted(labels.items(), key=lambda item: item[0][:2]):
        common = set.intersection(*sets)
        yield Change(role, workspace, tuple(sorted(common)), only=False, **row._asdict())


_NO_LABELS = _LabelSets(1, frozenset())


def _change(
    role: str, workspace: str, row: _Row, sets: _LabelSets, label_sizes: Mapping[str, int]
) -> Change:
    """Return the change of a row for these labels; `label_sizes` says how many values each has."""
    values = _gather(sorted(sets.seen, key=lambda each: (each[0], each[1] or "")))
    labels = tuple((name, texts[0]) for name, texts in values.items() if len(texts) == 1)
    common = tuple((name, text) for name, text in labels if text is not None)
    free = label_sizes.keys() - {name for name, _ in common}
    return Change(
        role,
        workspace,
        common,
        sets.number == math.prod(label_sizes[name] for name in free),
        *row,
        choices=tuple(each for each in values.items() if len(each[1]) < label_sizes[each[0]]),
        every=sets.number == math.prod(map(len, values.values())),
    )


def _differing(
    node: Node, level: int, levels: Sequence[Level]
) -> Iterator[tuple[Case, tuple[CaseResult, CaseResult]]]:
    """Yield each combination of the levels from here on that makes a difference."""
    if level == len(levels):
        result: Any = node.result
        if result is not None:
            yield {}, result
    elif node.level < len(levels) or node.result is not None:
        for index, part in enumerate(levels[level]):
            for case, result in _differing(node.child(level, index), level + 1, levels):
                yield {**part, **case}, result


def _rows(found: Iterable[tuple[Case, Any]]) -> list[_Row]:
    """Put cases together that differ in the model alone, then the key, then what is spent."""
    models = _gather(((spent_of(c), c[KEY], result), _name(c[CALL])) for c, result in found)
    keys = _gather(((spent, names, result), key) for (spent, key, result), names in models.items())
    spent = _gather(((each, names, r), amount) for (amount, names, r), each in keys.items())
    return [_Row(each, amounts, names, *r) for (each, names, r), amounts in spent.items()]


def _gather(pairs: Iterable[tuple[Any, Any]]) -> dict[Any, tuple[Any, ...]]:
    """Gather the values that have one key, in their order."""
    gathered: dict[Any, list[Any]] = defaultdict(list)
    for key, value in pairs:
        gathered[key].append(value)
    return {key: tuple(values) for key, values in gathered.items()}


def _name(call: Call) -> str:
    model, endpoint = call
    return model if endpoint is Endpoint.CHAT else f"{model} ({endpoint.value})"
