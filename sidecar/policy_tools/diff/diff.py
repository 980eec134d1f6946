"""The diff of two policy sets: what is written differently, and which calls it changes."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from sidecar.domain.clock import to_datetime
from sidecar.domain.prices import Multipliers, Price
from sidecar.policy.cel.variables import SPEND
from sidecar.policy.policy_set import PolicySet
from sidecar.policy_tools.diff.cases import CaseSpace, model_id
from sidecar.policy_tools.diff.changes import Change, changes_of, changes_of_sample
from sidecar.policy_tools.diff.comparison import Comparison, Progress, unreported
from sidecar.policy_tools.diff.decision_diagrams import TooLargeError
from sidecar.policy_tools.diff.dependencies import (
    CALL,
    KEY,
    ROLE,
    WORKSPACE,
    Dependencies,
    Inexact,
    Input,
)
from sidecar.policy_tools.diff.fields import FieldChange, entry_changes, rule_changes, same_body
from sidecar.policy_tools.diff.outcomes import part_name, parts_of
from sidecar.policy_tools.diff.rule_reader import read

SAMPLE_CASES = 10_000
DEFAULT_SEED = 1

_NOT_DECIDING = {"owner", "description", "message", "http_status", "alert_at", "on_expiry"}
"""Keys of a header that change no decision. A key that is not here may."""

_INPUT_OF = {"role": ROLE, "workspace": WORKSPACE, "model": CALL, "key": KEY}
"""What reads the entries of a kind."""


@dataclass(frozen=True, slots=True)
class PolicyDiff:
    """Two policy sets side by side, at a moment in ISO 8601.

    `keys` and `spent` are all that were tried, each for all like it. Where a rule
    is in `not_exact`, or a sample was tried, there may be changes that are not among `changes`.
    """

    at: str
    added: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()
    """Rules whose expression or header differs."""
    fields: tuple[FieldChange, ...] = ()
    """What is written differently in headers and in data files."""
    repriced: tuple[str, ...] = ()
    changes: tuple[Change, ...] = ()
    keys: tuple[str, ...] = ()
    spent: tuple[str, ...] = ()
    not_exact: tuple[Inexact, ...] = ()
    cases: int = 0
    sampled: int | None = None
    """How many of the cases were tried; None is all of them."""
    seed: int | None = None
    """Which sample that was."""


def compare(
    old: PolicySet,
    new: PolicySet,
    now_us: int,
    progress: Progress = unreported,
    seed: int = DEFAULT_SEED,
) -> PolicyDiff:
    """Find what differs, and every case whose decision differs, or those of a sample."""
    at = to_datetime(now_us).isoformat().replace("+00:00", "Z")
    if old.digest == new.digest:
        return PolicyDiff(at)
    before, after = ({rule.id: rule for rule in each.rules} for each in (old, new))
    fields = (*rule_changes(old, new), *entry_changes(old, new))
    rewritten = {r for r in before.keys() & after.keys() if not same_body(before[r], after[r])}
    reading = read(old, new)
    space = CaseSpace(old, new, reading, now_us)
    touched = _touched(rewritten | (before.keys() ^ after.keys()), fields, reading)
    if not all(each.catalogue.has_entries for each in (old, new)):
        touched |= before.keys()  # in one of the sets, no rule is ever evaluated
    parts = [parts_of(each, reading, now_us) for each in (old, new)]
    same = {part_name(rule) for rule in before.keys() - touched}
    comparison = Comparison(parts[0], parts[1], same, progress)
    sample = None
    try:
        changes = changes_of(comparison.diagram(space.levels), space.levels)
    except TooLargeError:
        sample = space.sample(seed, SAMPLE_CASES)
        changes = changes_of_sample(comparison.diagram([sample]), sample)
    return PolicyDiff(
        at,
        added=tuple(sorted(after.keys() - before.keys())),
        removed=tuple(sorted(before.keys() - after.keys())),
        changed=tuple(
            sorted(rewritten | {f.name for f in fields if f.kind == "rule"} & after.keys())
        ),
        fields=fields,
        repriced=tuple(_repriced(old, new)),
        changes=tuple(changes),
        keys=tuple(space.keys),
        spent=tuple(space.spent()) if sample is None else (),
        not_exact=tuple(
            sorted(d for d in reading.doubts if comparison.differs or d.rule in touched)
        ),
        cases=space.count,
        sampled=None if sample is None else len(sample),
        seed=None if sample is None else seed,
    )


def _touched(rewritten: set[str], fields: Sequence[FieldChange], reading: Dependencies) -> set[str]:
    """Return the rules whose outcome may differ between the sets."""
    kinds = {each.kind for each in fields}
    decided = {each.name for each in fields if each.field not in _NOT_DECIDING}
    direct = rewritten | {each.name for each in fields if each.kind == "rule"} & decided
    unknown = kinds - _INPUT_OF.keys() - {"rule", "multipliers"}
    inputs: set[Input] = {_INPUT_OF[kind] for kind in kinds & _INPUT_OF.keys()}
    inputs |= {(SPEND, rule) for rule in direct}
    return direct | {
        rule for rule in reading.inputs if unknown or not inputs.isdisjoint(reading.inputs_of(rule))
    }


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
