"""`sidecar schema`."""

import json
from dataclasses import asdict
from enum import StrEnum
from typing import Annotated

import typer
from rich.table import Table

from sidecar.cli.options import Format, FormatOption
from sidecar.cli.tables import console
from sidecar.policy.workbench import schema as policy_schema


class Subject(StrEnum):
    """What to describe."""

    VARIABLES = "variables"
    DATA = "data"
    FIXTURES = "fixtures"


def schema(
    subject: Annotated[
        Subject,
        typer.Argument(
            help="variables of rules; data or fixtures: their JSON Schema, for editors."
        ),
    ] = Subject.VARIABLES,
    output: FormatOption = Format.TEXT,
) -> None:
    """Show what a rule can see, or the JSON Schema of the YAML files.

    Example: sidecar schema data > data.schema.json
    """
    if subject is Subject.DATA:
        typer.echo(json.dumps(policy_schema.data_schema(), indent=2))
    elif subject is Subject.FIXTURES:
        typer.echo(json.dumps(policy_schema.fixture_schema(), indent=2))
    elif output is Format.JSON:
        rows = [asdict(variable) for variable in policy_schema.rule_variables()]
        typer.echo(json.dumps(rows, indent=2))
    else:
        table = Table("variable", "type", "what it is")
        for variable in policy_schema.rule_variables():
            table.add_row(variable.path, variable.type, variable.comment)
        console().print(table)
