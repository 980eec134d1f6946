"""`sidecar diff`."""

import json
import time
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import track
from rich.table import Table

from sidecar.cli.options import (
    EngineOption,
    Format,
    FormatOption,
    MomentOption,
    fail,
)
from sidecar.cli.policies import load_policies
from sidecar.cli.tables import console
from sidecar.domain.clock import SECOND_US
from sidecar.domain.counted import counted
from sidecar.policy.cel.variables import NOW
from sidecar.policy_tools.diff.cases import Case
from sidecar.policy_tools.diff.diff import (
    CaseResult,
    Change,
    PolicyDiff,
    TooManyCasesError,
    compare,
)
from sidecar.runtime.shared_flags import EngineName


def diff(
    old: Annotated[Path, typer.Argument(metavar="OLD", help="The current policies.")],
    new: Annotated[Path, typer.Argument(metavar="NEW", help="The new policies.")],
    at: MomentOption = None,
    engine: EngineOption = EngineName.CEL_CPP,
    output: FormatOption = Format.TEXT,
) -> None:
    """Show which calls two policy directories decide differently. Exit 1 if there are any.

    Every role, workspace, model, key and label that rules distinguish is tried, and amounts
    spent where rules read them. Exit 1, too, if a rule cannot be tried exhaustively.

    Example: sidecar diff policies my-policies
    """
    before, after = (load_policies(directory, engine.value) for directory in (old, new))
    try:
        now_us = int(time.time()) * SECOND_US if at is None else at
        found = compare(before, after, now_us, _with_progress)
    except TooManyCasesError as error:
        raise fail(error) from None
    if output is Format.JSON:
        typer.echo(json.dumps(asdict(found), indent=2))
    else:
        _print(found)
    missed = any(doubt.reads != NOW for doubt in found.not_exact)
    if any((found.changes, found.added, found.removed, found.changed, found.repriced, missed)):
        raise typer.Exit(1)


def _print(found: PolicyDiff) -> None:
    for what, rules in (
        ("added", found.added),
        ("removed", found.removed),
        ("changed", found.changed),
    ):
        if rules:
            typer.echo(f"rules {what}: {', '.join(rules)}")
    if found.repriced:
        typer.echo(f"prices changed: {', '.join(found.repriced)}")
    if found.changes:
        _print_changes(found)
    for doubt in found.not_exact:
        how = "; only that moment was tried"
        how = how if doubt.reads == NOW else " in a way that cannot be tried exhaustively"
        typer.echo(f"not exact: rule {doubt.rule} reads {doubt.reads}{how}")
    if found.cases:
        changes, cases = counted(len(found.changes), "change"), counted(found.cases, "case")
        typer.echo(f"{changes}, in {cases} at {found.at}")
    else:
        typer.echo("0 changes: both directories decide the same")


def _print_changes(found: PolicyDiff) -> None:
    shows_spent = len(found.spent) > 1
    table = Table()
    headings = ["role", "workspace", "labels", "keys", "spent", "models", "before", "after"]
    for heading in headings:
        if heading != "spent" or shows_spent:
            table.add_column(heading, overflow="fold")
    for change in found.changes:
        spent = ["any" if change.spent == found.spent else "; ".join(change.spent)]
        who, what = _row(change, found.keys)
        table.add_row(*who, *(spent if shows_spent else ()), *what)
    console().print(table)
    if not all(change.only for change in found.changes):
        typer.echo(
            "(some): only some of those with these labels; other labels matter, or one is missing"
        )


def _with_progress(cases: Sequence[Case]) -> Iterable[Case]:
    """Show the progress on a terminal."""
    return track(cases, "trying every case", console=Console(stderr=True), transient=True)


def _row(change: Change, all_keys: tuple[str, ...]) -> tuple[list[str], list[str]]:
    """Return the row of a change: whose calls, and the models and both results."""
    labels = ", ".join(f"{name}: {value}" for name, value in change.labels) or "any"
    labels = labels if change.only else f"{labels} (some)"
    keys = "any" if change.keys == all_keys else ", ".join(k or "(none)" for k in change.keys)
    before, after = _texts(change.before, change.after)
    return [change.role, change.workspace, labels, keys], [", ".join(change.models), before, after]


def _texts(before: CaseResult, after: CaseResult) -> tuple[str, str]:
    """Write both, without the limits that they share."""
    if before.denied or after.denied:  # the limits are not what has changed
        shared = {*before.ceilings, *after.ceilings}
    else:
        shared = set(before.ceilings) & set(after.ceilings)
    return _text(before, shared), _text(after, shared)


def _text(outlook: CaseResult, shared: set[tuple[str, str]]) -> str:
    model = f"as {outlook.model}: " if outlook.model else ""
    if outlook.denied:
        return f"{model}deny: {', '.join(outlook.denied)}"
    most = (
        "any size"
        if outlook.most_tokens is None
        else f"up to {counted(outlook.most_tokens, 'token')}"
    )
    limits = [f"{rule}: {top}" for rule, top in outlook.ceilings if (rule, top) not in shared]
    return "; ".join([f"{model}allow, {most}", *limits])
