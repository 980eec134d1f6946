"""`sidecar schema`: the variables of rules, and the JSON Schemas of YAML files."""

from dataclasses import asdict
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from sidecar.cli.options import Format, FormatOption, fail
from sidecar.cli.tables import Table, print_table
from sidecar.cli.terminal import say, say_all, say_json
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
                say(f"wrote {path}")
        except OSError as error:
            raise fail(f"{write}: {error.strerror}") from None
    elif subject is Subject.DATA:
        say_all(editor_schemas.as_text(editor_schemas.data_schema()))
    elif subject is Subject.FIXTURES:
        say_all(editor_schemas.as_text(editor_schemas.fixture_schema()))
    elif output is Format.JSON:
        rows = [asdict(variable) for variable in policy_schema.rule_variables()]
        say_json(rows)
    else:
        table = Table("variable", "type", "what it is")
        for variable in policy_schema.rule_variables():
            table.add_row(variable.path, variable.type, variable.comment)
        print_table(table)
