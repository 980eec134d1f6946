"""`sidecar diff`: what two policy directories say and decide differently."""

import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.progress import Progress

from sidecar.cli.options import (
    EngineOption,
    Format,
    FormatOption,
    MomentOption,
    fail,
)
from sidecar.cli.policies import load_policies
from sidecar.cli.tables import Table, console, print_table
from sidecar.cli.terminal import say, say_json
from sidecar.domain.clock import SECOND_US
from sidecar.domain.counted import counted
from sidecar.policy.cel.variables import NOW, TODAY
from sidecar.policy.policy_set import PolicySet
from sidecar.policy_tools.diff.case_results import CaseResult
from sidecar.policy_tools.diff.changes import Change
from sidecar.policy_tools.diff.comparison import Progress as ReportProgress
from sidecar.policy_tools.diff.diff import DEFAULT_SEED, PolicyDiff, compare
from sidecar.policy_tools.diff.fields import FieldChange
from sidecar.runtime.shared_flags import EngineName

MAX_VALUES_WIDTH = 200
"""The width of two values in one line; of longer lists, only the differences are printed."""


def diff(
    old: Annotated[Path, typer.Argument(metavar="OLD", help="The current policies.")],
    new: Annotated[Path, typer.Argument(metavar="NEW", help="The new policies.")],
    at: MomentOption = None,
    seed: Annotated[
        int, typer.Option("--seed", min=0, help="Which sample to try where the cases are too many.")
    ] = DEFAULT_SEED,
    engine: EngineOption = EngineName.CEL_CPP,
    output: FormatOption = Format.TEXT,
) -> None:
    """Show what two policy directories say differently, and which calls that changes.

    Every role, workspace, model, key and label that rules distinguish is tried, and amounts
    spent where rules read them. Exit 0 if nothing differs, 1 if anything does, and 2 if a
    directory cannot be loaded.

    Example: sidecar diff policies my-policies
    """
    before, after = (_load(directory, engine) for directory in (old, new))
    now_us = int(time.time()) * SECOND_US if at is None else at
    with _progress() as progress:
        found = compare(before, after, now_us, progress, seed)
    if output is Format.JSON:
        say_json(asdict(found))
    else:
        _print(found)
    if any((found.added, found.removed, found.changed, found.fields, found.changes)):
        raise typer.Exit(1)


def _load(directory: Path, engine: EngineName) -> PolicySet:
    try:
        return load_policies(directory, engine.value, exit_code=2)
    except ValueError as error:  # no wheel of cel-cpp for this machine
        raise fail(error, 2) from None


@contextmanager
def _progress() -> Iterator[ReportProgress]:
    """Show the progress on a terminal."""
    errors = console(err=True)
    with Progress(console=errors, transient=True, disable=not errors.is_terminal) as bar:
        task = bar.add_task("evaluating every rule", total=None)
        yield lambda done, of: bar.update(task, completed=done, total=of)


def _print(found: PolicyDiff) -> None:
    for line in _lines(found):
        say(line)
    if found.changes:
        _print_changes(found)
    for doubt in found.not_exact:
        how = "; only that moment was tried"
        how = how if doubt.reads in (NOW, TODAY) else " in a way that cannot be tried exhaustively"
        say(f"not exact: rule {doubt.rule} reads {doubt.reads}{how}")
    cases = _cases(found.cases)
    if found.sampled is not None:
        say(
            f"not exact: {found.sampled:,} of {cases} were tried, a sample with the seed"
            f" {found.seed}; there may be other changes"
        )
    changes = counted(len(found.changes), "change")
    if found.cases:
        say(f"{changes}, in {cases} at {found.at}")
    else:
        say("0 changes: both directories decide the same")


def _lines(found: PolicyDiff) -> Iterator[str]:
    """Yield what is written differently."""
    for what, rules in (
        ("added", found.added),
        ("removed", found.removed),
        ("changed", found.changed),
    ):
        if rules:
            yield f"rules {what}: {', '.join(rules)}"
    yield from map(_field, found.fields)
    if found.repriced:
        yield f"prices changed: {', '.join(found.repriced)}"


def _cases(count: int) -> str:
    return counted(count, "case") if count < 10**12 else "more than 10^12 cases"


def _field(field: FieldChange) -> str:
    """Write a key or field with both values, or an entry that only one set has."""
    name = f"{field.kind} {field.name}".rstrip()
    if not field.field:
        return f"{name}: {'removed' if field.after is None else 'added'}"
    before, after = (
        "(absent)" if value is None else value or '""' for value in (field.before, field.after)
    )
    if field.meaning and len(before) + len(after) > MAX_VALUES_WIDTH:
        return f"{name}: {field.field}: {field.meaning}"
    meaning = f" ({field.meaning})" if field.meaning else ""
    return f"{name}: {field.field}: {before} → {after}{meaning}"


def _print_changes(found: PolicyDiff) -> None:
    """Print the changes from or to an allow. Of calls that both sets deny, print only a number."""
    still_denied = [each for each in found.changes if each.before.denied and each.after.denied]
    decided = [each for each in found.changes if not (each.before.denied and each.after.denied)]
    shown = decided or still_denied
    print_table(_table(shown, found))
    if not all(change.only or change.every for change in shown):
        say("(some): only some of those with these labels; other labels matter, or one is missing")
    if decided and still_denied:
        rows = counted(len(still_denied), "change")
        say(f"and {rows} of reasons only, of calls that both deny: see --format json")


def _table(changes: Sequence[Change], found: PolicyDiff) -> Table:
    """Return a table with a row for all roles, and then for all workspaces, that change alike."""
    shows_spent = len(found.spent) > 1 or any(any(change.spent) for change in changes)
    headings = ["role", "workspace", "labels", "keys", "spent", "models", "before", "after"]
    table = Table(*(one for one in headings if one != "spent" or shows_spent))
    roles: dict[tuple[str, ...], list[str]] = defaultdict(list)
    for change in changes:
        spent = ["any" if change.spent == found.spent else "; ".join(change.spent)]
        who, what = _row(change, found.keys)
        roles[change.workspace, *who, *(spent if shows_spent else ()), *what].append(change.role)
    workspaces: dict[tuple[str, ...], list[str]] = defaultdict(list)
    for (workspace, *cells), names in roles.items():
        workspaces[", ".join(names), *cells].append(workspace)
    for (names_of_roles, *cells), names in workspaces.items():
        row = (names_of_roles, ", ".join(names), *cells)
        table.add_row(*row)
    return table


def _row(change: Change, all_keys: tuple[str, ...]) -> tuple[list[str], list[str]]:
    """Return the cells of a change: whose calls, and the models and both results."""
    keys = "any" if change.keys == all_keys else ", ".join(k or "(none)" for k in change.keys)
    before, after = _text(change.before), _text(change.after)
    return [_labels(change), keys], [", ".join(change.models), before, after]


def _labels(change: Change) -> str:
    if change.every and not change.only:
        return ", ".join(
            f"{name}: {' or '.join('(none)' if text is None else text for text in texts)}"
            for name, texts in change.choices
        )
    labels = ", ".join(f"{name}: {value}" for name, value in change.labels) or "any"
    return labels if change.only else f"{labels} (some)"


def _text(result: CaseResult) -> str:
    model = f"as {result.model}: " if result.model else ""
    if result.denied:
        return f"{model}deny: {', '.join(result.denied)}"
    most = (
        "any size"
        if result.most_tokens is None
        else f"up to {counted(result.most_tokens, 'token')}"
    )
    ceilings = [f"{rule}: {top}" for rule, top in result.ceilings]
    return "; ".join([f"{model}allow, {most}", *ceilings])
