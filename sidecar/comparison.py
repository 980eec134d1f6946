"""What changes for whom between two policy sets: every case is tried, at one moment."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from sidecar.cases import Case, Labels, cases, keys, label_sets
from sidecar.domain.amounts import format_amount
from sidecar.domain.usage import WITH_OUTPUT, Endpoint
from sidecar.judgement import Judgement, judge
from sidecar.policy.policy_set import PolicySet
from sidecar.v1 import authorization_pb2 as pb

CASES_AT_MOST = 200_000
"""Roles with workspaces, labels, keys and models: more are not tried."""

LEAST_TOKENS, MOST_TOKENS = 2, 1_000_000
"""Where the search for the largest request begins and ends."""

Track = Callable[[Sequence[Case]], Iterable[Case]]
"""Goes over the cases, and may show how far it is."""


@dataclass(frozen=True, slots=True)
class Outlook:
    """What a case comes to: why it is denied, or how large a request may be and its limits."""

    denied: tuple[str, ...]
    most_tokens: int | None
    ceilings: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Change:
    """What changes, for all labels, keys and models that it changes for alike.

    `labels` are those that all such callers have; `only` says whether every
    caller with these is one of them. `keys` are those that it changes for, "" for
    none; a model at another endpoint than chat has that in brackets.
    """

    role: str
    workspace: str
    labels: Labels
    only: bool
    keys: tuple[str, ...]
    models: tuple[str, ...]
    before: Outlook
    after: Outlook


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two policy sets side by side. `keys` are all that were tried, each for all like it."""

    added: tuple[str, ...]
    removed: tuple[str, ...]
    changed: tuple[str, ...]
    repriced: tuple[str, ...]
    changes: tuple[Change, ...]
    keys: tuple[str, ...]
    cases: int


class TooManyCasesError(Exception):
    """More cases than can be tried; the text says how many."""


def compare(old: PolicySet, new: PolicySet, now_us: int, track: Track = iter) -> Comparison:
    """Try every case on both sets. Raises TooManyCasesError."""
    before, after = ({rule.id: rule.body.source for rule in each.rules} for each in (old, new))
    every = list(cases(old, new))
    if len(every) > CASES_AT_MOST:
        raise TooManyCasesError(f"{len(every)} cases are more than {CASES_AT_MOST}")
    tried = (
        (case, _outlook(old, case, now_us), _outlook(new, case, now_us)) for case in track(every)
    )
    different = [each for each in tried if each[1] != each[2]]
    return Comparison(
        added=tuple(sorted(after.keys() - before.keys())),
        removed=tuple(sorted(before.keys() - after.keys())),
        changed=tuple(sorted(r for r in before.keys() & after.keys() if before[r] != after[r])),
        repriced=tuple(_repriced(old, new)),
        changes=tuple(_together(different, label_sets(old, new))),
        keys=tuple(keys(old, new)),
        cases=len(every),
    )


def _together(
    different: list[tuple[Case, Outlook, Outlook]], all_labels: list[Labels]
) -> Iterator[Change]:
    """Put cases together that differ in the model alone, then in the key, then in labels."""
    models = _gather(
        ((c.role, c.workspace, then, now, c.labels, c.key), _name(c)) for c, then, now in different
    )
    keys = _gather(((*who, names), key) for (*who, key), names in models.items())
    labels = _gather(((*who, names, found), each) for (*who, each, names), found in keys.items())
    for (role, workspace, then, now, names, found), each in labels.items():
        yield Change(role, workspace, *_common(each, all_labels), found, names, then, now)


def _gather(pairs: Iterable[tuple[tuple[Any, ...], Any]]) -> dict[tuple[Any, ...], tuple[Any, ...]]:
    """Gather the values that have one key, in their order."""
    gathered: dict[tuple[Any, ...], list[Any]] = defaultdict(list)
    for key, value in pairs:
        gathered[key].append(value)
    return {key: tuple(values) for key, values in gathered.items()}


def _name(case: Case) -> str:
    is_chat = case.endpoint is Endpoint.CHAT
    return case.model if is_chat else f"{case.model} ({case.endpoint.value})"


def _repriced(old: PolicySet, new: PolicySet) -> Iterator[str]:
    """Find the models of both sets that do not cost the same."""
    for model in sorted(old.catalogue.models.keys() & new.catalogue.models.keys()):
        entry, other = old.catalogue.models[model], new.catalogue.models[model]
        if entry.message.id == model and [(t.price, t.multipliers) for t in entry.tariffs] != [
            (t.price, t.multipliers) for t in other.tariffs
        ]:
            yield model


def _common(found: tuple[Labels, ...], all_labels: list[Labels]) -> tuple[Labels, bool]:
    """Return the labels that all have, and whether nobody else has these."""
    common = set(found[0]).intersection(*found)
    with_these = sum(common <= set(labels) for labels in all_labels)
    return tuple(sorted(common)), with_these == len(found)


def _outlook(policy: PolicySet, case: Case, now_us: int) -> Outlook:
    first = _try(policy, case, LEAST_TOKENS, now_us)
    denied = tuple(sorted(f"{r.code} ({r.rule})" if r.rule else r.code for r in first.reasons))
    if denied:
        return Outlook(denied, None, ())
    ceilings = tuple(
        (demand.limit.rule, format_amount(demand.limit.meter, demand.limit.ceiling))
        for demand in first.demands
        if not demand.shadow
    )
    return Outlook((), _most_tokens(policy, case, now_us), ceilings)


def _most_tokens(policy: PolicySet, case: Case, now_us: int) -> int | None:
    """Find how many tokens a request may have; None is no end in sight."""

    def passes(tokens: int) -> bool:
        return not _try(policy, case, tokens, now_us).reasons

    if passes(MOST_TOKENS):
        return None
    most, too_many = LEAST_TOKENS, MOST_TOKENS
    likely = policy.catalogue.roles[case.role].max_tokens_per_request or MOST_TOKENS
    if most < likely < too_many and passes(likely) and not passes(likely + 1):
        return likely
    while too_many - most > 1:
        middle = (most + too_many) // 2
        if passes(middle):
            most = middle
        else:
            too_many = middle
    return most


def _try(policy: PolicySet, case: Case, tokens: int, now_us: int) -> Judgement:
    """Judge a call of so many tokens, of which one is input where there is output, too."""
    has_output = case.endpoint in WITH_OUTPUT
    principal = pb.Principal(
        id="(anybody)",
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
            audio_seconds=int(case.endpoint is Endpoint.TRANSCRIPTION),
        ),
    )
    return judge(policy, request, now_us, lambda _limits, _at_us: ())
