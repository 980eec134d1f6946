"""The diff of two policy sets: evaluates every case on both, at one time."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from mistral_spend.v1 import authorization_pb2 as pb

from sidecar.authorization.request_evaluation import EvaluationResult, evaluate_request
from sidecar.domain.amounts import format_amount
from sidecar.domain.clock import to_datetime
from sidecar.domain.prices import Multipliers, Price
from sidecar.domain.usage import MAX_COUNT, WITH_OUTPUT, Endpoint
from sidecar.policy.policy_set import PolicySet
from sidecar.policy_tools.diff.cases import (
    Case,
    CaseSpace,
    Labels,
    Spent,
    budgets_of_case,
    model_id,
)
from sidecar.policy_tools.diff.dependencies import Inexact, read

MAX_CASES = 200_000
"""Combinations of role, workspace, labels, key, model and spent amounts."""

MIN_TOKENS, MAX_TOKENS = 2, MAX_COUNT
"""The bounds of the search for the largest request, in tokens."""

UNLIMITED = "unlimited"
"""The ceiling of a limit that one of the sets does not have."""

Track = Callable[[Sequence[Case]], Iterable[Case]]
"""Goes over the cases, and may show how far it is."""


@dataclass(frozen=True, slots=True)
class CaseResult:
    """A case's result: the reasons to deny it, or the largest request and its limits.

    `model` is the id of the model that the name stands for, if that changes.
    """

    denied: tuple[str, ...]
    most_tokens: int | None
    ceilings: tuple[tuple[str, str], ...]
    model: str = ""


@dataclass(frozen=True, slots=True)
class Change:
    """What changes, for all labels, keys and models that it changes for alike.

    `labels` are those that all such callers have; `only` says whether every
    caller with these is one of them. `keys` are those that it changes for, "" for
    none, and `spent` what is spent of the limits that rules look at; a model at
    another endpoint than chat has that in brackets.
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


@dataclass(frozen=True, slots=True)
class PolicyDiff:
    """Two policy sets side by side, at a moment in ISO 8601.

    `keys` and `spent` are all that were tried, each for all like it. Where a rule
    is in `not_exact`, there may be changes that are not among `changes`.
    """

    at: str
    added: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()
    repriced: tuple[str, ...] = ()
    changes: tuple[Change, ...] = ()
    keys: tuple[str, ...] = ()
    spent: tuple[str, ...] = ()
    not_exact: tuple[Inexact, ...] = ()
    cases: int = 0


class TooManyCasesError(Exception):
    """More cases than can be tried; the text says how many."""


def compare(old: PolicySet, new: PolicySet, now_us: int, track: Track = iter) -> PolicyDiff:
    """Evaluate every case that may differ on both sets. Raises TooManyCasesError."""
    at = to_datetime(now_us).isoformat().replace("+00:00", "Z")
    if old.digest == new.digest:
        return PolicyDiff(at)
    before, after = ({rule.id: rule.body.source for rule in each.rules} for each in (old, new))
    reading = read(old, new)
    space = CaseSpace(old, new, reading, now_us)
    if space.count > MAX_CASES:
        count = f"{space.count:,}" if space.count < 10**12 else "more than 10^12"
        raise TooManyCasesError(f"{count} cases are more than {MAX_CASES:,}")
    is_unchanged = _unchanged(old, new, space.keys)
    every = [case for case in space.cases() if before != after or not is_unchanged(case)]
    tried = ((case, *_outlooks(old, new, case, now_us)) for case in track(every))
    different = [each for each in tried if each[1] != each[2]]
    return PolicyDiff(
        at,
        added=tuple(sorted(after.keys() - before.keys())),
        removed=tuple(sorted(before.keys() - after.keys())),
        changed=tuple(sorted(r for r in before.keys() & after.keys() if before[r] != after[r])),
        repriced=tuple(_repriced(old, new)),
        changes=tuple(_together(different, space.label_sets())),
        keys=tuple(space.keys),
        spent=tuple(map(_spent, space.spent())),
        not_exact=tuple(sorted(reading.doubts)) if every else (),
        cases=space.count,
    )


def _unchanged(old: PolicySet, new: PolicySet, keys: Sequence[str]) -> Callable[[Case], bool]:
    """Find the cases for which both have the same entries: the same rules decide them alike."""
    one, other = old.catalogue, new.catalogue
    roles = {name for name, role in one.roles.items() if role == other.roles.get(name)}
    workspaces = {
        name for name, entry in one.workspaces.items() if entry == other.workspaces.get(name)
    }
    models = {
        name
        for name in one.models.keys() & other.models.keys()
        if one.models[name].message == other.models[name].message
        and _tariffs(old, name) == _tariffs(new, name)
    }
    same_keys = {key for key in keys if one.key(key) == other.key(key)}
    return lambda case: (
        case.role in roles
        and case.workspace in workspaces
        and case.model in models
        and case.key in same_keys
    )


def _together(
    different: list[tuple[Case, CaseResult, CaseResult]], all_labels: list[Labels]
) -> Iterator[Change]:
    """Put cases together that differ in the model alone, then the key, what is spent, labels."""
    models = _gather(
        ((c.role, c.workspace, then, now, c.labels, _spent(c.spent), c.key), _name(c))
        for c, then, now in different
    )
    keys = _gather(((*who, names), key) for (*who, key), names in models.items())
    spent = _gather(((*who, names, found), each) for (*who, each, names), found in keys.items())
    labels = _gather(
        ((*who, names, found, amounts), each)
        for (*who, each, names, found), amounts in spent.items()
    )
    for (role, workspace, then, now, names, found, amounts), each in labels.items():
        common, only = _common(each, all_labels)
        yield Change(role, workspace, common, only, found, amounts, names, then, now)


def _gather(pairs: Iterable[tuple[tuple[Any, ...], Any]]) -> dict[tuple[Any, ...], tuple[Any, ...]]:
    """Gather the values that have one key, in their order."""
    gathered: dict[tuple[Any, ...], list[Any]] = defaultdict(list)
    for key, value in pairs:
        gathered[key].append(value)
    return {key: tuple(values) for key, values in gathered.items()}


def _name(case: Case) -> str:
    is_chat = case.endpoint is Endpoint.CHAT
    return case.model if is_chat else f"{case.model} ({case.endpoint.value})"


def _spent(spent: tuple[Spent, ...]) -> str:
    return ", ".join(map(str, spent))


def _repriced(old: PolicySet, new: PolicySet) -> Iterator[str]:
    """Find the models of both sets, and the aliases of another one, that do not cost the same."""
    for name in sorted(old.catalogue.models.keys() & new.catalogue.models.keys()):
        stands_for = {model_id(old, name), model_id(new, name)}
        if (name in stands_for or len(stands_for) > 1) and _tariffs(old, name) != _tariffs(
            new, name
        ):
            yield name


def _tariffs(policy: PolicySet, name: str) -> list[tuple[Price, Multipliers]]:
    """Return what a model costs, without the names of the prices."""
    return [
        (replace(tariff.price, price_id=""), tariff.multipliers)
        for tariff in policy.catalogue.models[name].tariffs
    ]


def _common(found: tuple[Labels, ...], all_labels: list[Labels]) -> tuple[Labels, bool]:
    """Return the labels common to all, and whether all cases with these are included."""
    common = set(found[0]).intersection(*found)
    with_these = sum(common <= set(labels) for labels in all_labels)
    return tuple(sorted(common)), with_these == len(found)


def _outlooks(
    old: PolicySet, new: PolicySet, case: Case, now_us: int
) -> tuple[CaseResult, CaseResult]:
    """Return what a case comes to on both sets; what only one of them says is made plain."""
    before, after = (_outlook(policy, case, now_us) for policy in (old, new))
    ids = [model_id(policy, case.model) for policy in (old, new)]
    if before.denied and after.denied:
        return before, after
    if ids[0] != ids[1]:
        before, after = (
            replace(outlook, model=stands_for if stands_for != case.model else "")
            for outlook, stands_for in zip((before, after), ids, strict=True)
        )
    if before.denied or after.denied:
        return before, after
    return _with_limits_of(before, after), _with_limits_of(after, before)


def _with_limits_of(outlook: CaseResult, other: CaseResult) -> CaseResult:
    ceilings = {**{rule: UNLIMITED for rule, _ in other.ceilings}, **dict(outlook.ceilings)}
    return replace(outlook, ceilings=tuple(sorted(ceilings.items())))


def _outlook(policy: PolicySet, case: Case, now_us: int) -> CaseResult:
    first = _try(policy, case, MIN_TOKENS, now_us)
    denied = tuple(sorted(f"{r.code} ({r.rule})" if r.rule else r.code for r in first.reasons))
    if denied:
        return CaseResult(denied, None, ())
    ceilings = tuple(
        (line.limit.rule, format_amount(line.limit.meter, line.limit.ceiling))
        for line in first.lines
        if not line.shadow
    )
    return CaseResult((), _most_tokens(policy, case, now_us), ceilings)


def _most_tokens(policy: PolicySet, case: Case, now_us: int) -> int | None:
    """Find how many tokens a request may have; None is no end in sight."""

    def passes(tokens: int) -> bool:
        return not _try(policy, case, tokens, now_us).reasons

    if passes(MAX_TOKENS):
        return None
    most, too_many = MIN_TOKENS, MAX_TOKENS
    likely = policy.catalogue.roles[case.role].max_tokens_per_request or MAX_TOKENS
    for tokens in (likely, likely + 1, likely - 1):  # so halving has nothing left to do
        if most < tokens < too_many:
            most, too_many = (tokens, too_many) if passes(tokens) else (most, tokens)
    while too_many - most > 1:
        middle = (most + too_many) // 2
        if passes(middle):
            most = middle
        else:
            too_many = middle
    return most


def _try(policy: PolicySet, case: Case, tokens: int, now_us: int) -> EvaluationResult:
    """Evaluate a call of so many tokens, of which one is input if it has output."""
    has_output = case.endpoint in WITH_OUTPUT
    principal = pb.Principal(
        id="(any)",
        role=case.role,
        workspace=case.workspace,
        labels=dict(case.labels),
        key_id=case.key,
    )
    request = pb.AuthorizeRequest(
        principal=principal,
        model=case.model,
        endpoint=f"ENDPOINT_{case.endpoint}",
        estimate=pb.Estimate(
            input_tokens=1 if has_output else tokens,
            max_output_tokens=tokens - 1 if has_output else 0,
            pages=int(case.endpoint is Endpoint.OCR),
            audio_seconds=int(case.endpoint in (Endpoint.TRANSCRIPTION, Endpoint.REALTIME)),
            characters=int(case.endpoint is Endpoint.SPEECH),
        ),
    )
    return evaluate_request(policy, request, now_us, partial(budgets_of_case, case.spent))
