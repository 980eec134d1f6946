"""`sidecar schema`: the variables of rules, and the JSON Schemas of YAML files."""

import json
from dataclasses import asdict
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from sidecar.cli.options import Format, FormatOption, fail
from sidecar.cli.tables import console
from sidecar.policy_tools import editor_schemas
from sidecar.policy_tools import schema as policy_schema


class Subject(StrEnum):
    """What to describe."""

    VARIABLES = "variables"
    DATA = "data"
    FIXTURES = "fixtures"


def schema(
    subject: Annotated[
        Subject,
        typer.Argument(
            help="variables: what rules read; data, fixtures: JSON Schemas for editors."
        ),
    ] = Subject.VARIABLES,
    output: FormatOption = Format.TEXT,
    write: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Write both JSON Schemas into a policy directory."),
    ] = None,
) -> None:
    """Show the variables of rules, or the JSON Schema of the YAML files.

    Example: sidecar schema --write policies
    """
    if write is not None:
        try:
            for path in editor_schemas.write(write):
                typer.echo(f"wrote {path}")
        except OSError as error:
            raise fail(f"{write}: {error.strerror}") from None
    elif subject is Subject.DATA:
        typer.echo(editor_schemas.as_text(editor_schemas.data_schema()), nl=False)
    elif subject is Subject.FIXTURES:
        typer.echo(editor_schemas.as_text(editor_schemas.fixture_schema()), nl=False)
    elif output is Format.JSON:
        rows = [asdict(variable) for variable in policy_schema.rule_variables()]
        typer.echo(json.dumps(rows, indent=2))
    else:
        table = Table("variable", "type", "what it is")
        for variable in policy_schema.rule_variables():
            table.add_row(variable.path, variable.type, variable.comment)
        console().print(table)
