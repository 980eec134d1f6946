"""`sidecar list`: the rules of a policy directory."""

from pathlib import Path
from typing import Annotated

import typer

from sidecar.cli.options import EngineOption, Format, FormatOption
from sidecar.cli.policies import load_policies
from sidecar.cli.tables import Table, print_table
from sidecar.cli.terminal import say_json
from sidecar.domain.windows import format_window
from sidecar.policy.rules import Rule
from sidecar.runtime.shared_flags import EngineName

COLUMNS = ("id", "effect", "reason", "status", "meter", "window", "per", "mode", "owner")


def list_rules(
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="The directory of policies.")],
    engine: EngineOption = EngineName.CEL_CPP,
    output: FormatOption = Format.TEXT,
) -> None:
    """List the rules of a policy directory.

    Example: sidecar list policies
    """
    rows = [_row(rule) for rule in load_policies(directory, engine.value).rules]
    if output is Format.JSON:
        say_json([dict(zip(COLUMNS, row, strict=True)) for row in rows])
        return
    table = Table(*COLUMNS)
    for row in rows:
        table.add_row(*row)
    print_table(table)


def _row(rule: Rule) -> tuple[str, ...]:
    limit = rule.limit
    return (
        rule.id,
        rule.effect.value,
        rule.reason,
        str(rule.http_status) if rule.http_status else "",
        limit.meter.value if limit else "",
        format_window(limit.window, limit.anchor) if limit else "",
        limit.per.source if limit else "",
        "shadow" if rule.shadow else "enforce",
        rule.owner,
    )
