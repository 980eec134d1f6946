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

from sidecar.cases import Case
from sidecar.cli.options import (
    EngineName,
    EngineOption,
    Format,
    FormatOption,
    fail,
    load_policies,
)
from sidecar.cli.tables import console
from sidecar.comparison import Change, Comparison, Outlook, TooManyCasesError, compare


def diff(
    old: Annotated[Path, typer.Argument(metavar="OLD", help="The policies as they are.")],
    new: Annotated[Path, typer.Argument(metavar="NEW", help="The policies as they would be.")],
    engine: EngineOption = EngineName.CEL_CPP,
    output: FormatOption = Format.TEXT,
) -> None:
    """Show what changes for whom between two policy directories. Exit 1 if anything does.

    Every role, workspace, model, key and label that rules tell apart is tried, with the
    smallest call that there is. Example: sidecar diff policies my-policies
    """
    before, after = (load_policies(directory, engine.value) for directory in (old, new))
    try:
        found = compare(before, after, time.time_ns() // 1000, _with_progress)
    except TooManyCasesError as error:
        raise fail(error) from None
    if output is Format.JSON:
        typer.echo(json.dumps(asdict(found), indent=2))
    else:
        _print(found)
    if any((found.changes, found.added, found.removed, found.changed, found.repriced)):
        raise typer.Exit(1)


def _print(found: Comparison) -> None:
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
        table = Table()
        for heading in ("role", "workspace", "labels", "keys", "models", "before", "after"):
            table.add_column(heading, overflow="fold")
        for change in found.changes:
            table.add_row(*_row(change, found.keys))
        console().print(table)
    typer.echo(f"{len(found.changes)} changes, in {found.cases} cases tried")


def _with_progress(cases: Sequence[Case]) -> Iterable[Case]:
    """Show how far it is, where somebody is looking."""
    return track(cases, "trying every case", console=Console(stderr=True), transient=True)


def _row(change: Change, all_keys: tuple[str, ...]) -> tuple[str, ...]:
    labels = ", ".join(f"{name}: {value}" for name, value in change.labels) or "any"
    labels = labels if change.only else f"{labels} (some)"
    before, after = _texts(change.before, change.after)
    keys = "any" if change.keys == all_keys else ", ".join(k or "(none)" for k in change.keys)
    models = ", ".join(change.models)
    return (change.role, change.workspace, labels, keys, models, before, after)


def _texts(before: Outlook, after: Outlook) -> tuple[str, str]:
    """Write both, without the limits that they share."""
    if before.denied or after.denied:  # the limits are not what has changed
        shared = {*before.ceilings, *after.ceilings}
    else:
        shared = set(before.ceilings) & set(after.ceilings)
    return _text(before, shared), _text(after, shared)


def _text(outlook: Outlook, shared: set[tuple[str, str]]) -> str:
    if outlook.denied:
        return "deny: " + ", ".join(outlook.denied)
    most = "any size" if outlook.most_tokens is None else f"up to {outlook.most_tokens:,} tokens"
    limits = [f"{rule}: {top}" for rule, top in outlook.ceilings if (rule, top) not in shared]
    return "; ".join([f"allow, {most}", *limits])
