"""What changes for whom between two policy sets.

The roles, workspaces and models of data files are finite, and so are the labels
that rules compare with, so every case is tried: a chat of one token in and one
out, without a key, at one moment.
"""

import itertools
import re
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass

from sidecar.domain.decisions import Meter
from sidecar.domain.money import format_usd
from sidecar.judgement import Judgement, judge
from sidecar.policy.policy_set import PolicySet
from sidecar.v1 import authorization_pb2 as pb

CASES_AT_MOST = 50_000
"""Roles with workspaces, models and labels: more are not tried."""

MOST_TOKENS = 1_000_000
"""Where the search for the largest request ends."""

_LABEL = re.compile(r"principal\.labels(?:\[\s*[\"']([^\"']+)[\"']\s*\]|\.(\w+))")
_IN_LABELS = re.compile(r"[\"']([^\"']+)[\"']\s+in\s+principal\.labels\b")
_TEXT = re.compile(r"\"([^\"\\]*)\"|'([^'\\]*)'")

Labels = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Case:
    """One caller with one model."""

    role: str
    workspace: str
    labels: Labels
    model: str


@dataclass(frozen=True, slots=True)
class Outlook:
    """What a case comes to: why it is denied, or how large a request may be and its limits."""

    denied: tuple[str, ...]
    most_tokens: int | None
    ceilings: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Change:
    """What changes, for all labels and models that it changes for alike.

    `labels` are those that all such callers have; `only` says whether every
    caller with these is one of them.
    """

    role: str
    workspace: str
    labels: Labels
    only: bool
    models: tuple[str, ...]
    before: Outlook
    after: Outlook


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two policy sets side by side."""

    added: tuple[str, ...]
    removed: tuple[str, ...]
    changed: tuple[str, ...]
    changes: tuple[Change, ...]
    cases: int


class TooManyCasesError(Exception):
    """More cases than can be tried; the text says how many."""


def compare(old: PolicySet, new: PolicySet, now_us: int) -> Comparison:
    """Try every case on both sets. Raises TooManyCasesError."""
    before, after = ({rule.id: rule.body.source for rule in each.rules} for each in (old, new))
    cases = list(_cases(old, new))
    if len(cases) > CASES_AT_MOST:
        raise TooManyCasesError(f"{len(cases)} cases are more than {CASES_AT_MOST}")
    models: dict[tuple[str, str, Outlook, Outlook, Labels], list[str]] = defaultdict(list)
    for case in cases:
        then, now = _outlook(old, case, now_us), _outlook(new, case, now_us)
        if then != now:
            models[case.role, case.workspace, then, now, case.labels].append(case.model)
    alike: dict[tuple[str, str, Outlook, Outlook, tuple[str, ...]], list[Labels]]
    alike = defaultdict(list)
    for (role, workspace, then, now, labels), names in models.items():
        alike[role, workspace, then, now, tuple(names)].append(labels)
    all_labels = _label_sets(old, new)
    return Comparison(
        added=tuple(sorted(after.keys() - before.keys())),
        removed=tuple(sorted(before.keys() - after.keys())),
        changed=tuple(sorted(r for r in before.keys() & after.keys() if before[r] != after[r])),
        changes=tuple(
            Change(role, workspace, *_common(found, all_labels), names, then, now)
            for (role, workspace, then, now, names), found in alike.items()
        ),
        cases=len(cases),
    )


def _cases(old: PolicySet, new: PolicySet) -> Iterator[Case]:
    catalogues = (old.catalogue, new.catalogue)
    roles = sorted({name for each in catalogues for name in each.roles})
    workspaces = sorted({name for each in catalogues for name in each.workspaces})
    models = sorted({m.message.id for each in catalogues for m in each.models.values()})
    for role, workspace, labels, model in itertools.product(
        roles, workspaces, _label_sets(old, new), models
    ):
        yield Case(role, workspace, labels, model)


def _label_sets(old: PolicySet, new: PolicySet) -> list[Labels]:
    """Return every combination of labels that a rule can tell from another.

    A label may be missing, have any text that stands in a rule that reads it,
    name a service, or be something else.
    """
    values: dict[str, set[str]] = defaultdict(set)
    for policy in (old, new):
        services = {s for w in policy.catalogue.workspaces.values() for s in w.services}
        for source in (e.source for rule in policy.rules for e in rule.expressions):
            names = {a or b for a, b in _LABEL.findall(source)} | set(_IN_LABELS.findall(source))
            texts = {a or b for a, b in _TEXT.findall(source)} - names
            for name in names:
                values[name] |= texts
                if "services" in source:
                    values[name] |= services
    choices = [
        [None, *((name, value) for value in sorted({*found, "(any other)"}))]
        for name, found in sorted(values.items())
    ]
    return [tuple(filter(None, chosen)) for chosen in itertools.product(*choices)]


def _common(found: list[Labels], all_labels: list[Labels]) -> tuple[Labels, bool]:
    """Return the labels that all have, and whether nobody else has these."""
    common = set(found[0]).intersection(*found)
    with_these = sum(common <= set(labels) for labels in all_labels)
    return tuple(sorted(common)), with_these == len(found)


def _outlook(policy: PolicySet, case: Case, now_us: int) -> Outlook:
    first = _try(policy, case, 1, now_us)
    denied = tuple(sorted(f"{r.code} ({r.rule})" if r.rule else r.code for r in first.reasons))
    if denied:
        return Outlook(denied, None, ())
    ceilings = tuple(
        (demand.limit.rule, _ceiling(demand.limit.meter, demand.limit.ceiling))
        for demand in first.demands
        if not demand.shadow
    )
    return Outlook((), _most_tokens(policy, case, now_us), ceilings)


def _most_tokens(policy: PolicySet, case: Case, now_us: int) -> int | None:
    """Find by halving how many tokens a request may have; None is no end in sight."""
    passes, fails = 1, MOST_TOKENS
    if not _try(policy, case, fails, now_us).reasons:
        return None
    while fails - passes > 1:
        middle = (passes + fails) // 2
        if _try(policy, case, middle, now_us).reasons:
            fails = middle
        else:
            passes = middle
    return passes + 1  # with the one token of input


def _try(policy: PolicySet, case: Case, output_tokens: int, now_us: int) -> Judgement:
    request = pb.AuthorizeRequest(
        principal=pb.Principal(
            id="(anybody)", role=case.role, workspace=case.workspace, labels=dict(case.labels)
        ),
        model=case.model,
        estimate=pb.Estimate(input_tokens=1, max_output_tokens=output_tokens),
    )
    return judge(policy, request, now_us, lambda _limits, _at_us: ())


def _ceiling(meter: Meter, ceiling: int | None) -> str:
    if ceiling is None:
        return "unlimited"
    return f"${format_usd(ceiling)}" if meter is Meter.COST else f"{ceiling:,} {meter.value}"
