"""`sidecar check`."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from sidecar.cli.options import EngineName, EngineOption, Format, FormatOption
from sidecar.policy import policy_set
from sidecar.policy.problems import PolicyError


def check(
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="The directory of policies.")],
    engine: EngineOption = EngineName.CEL_CPP,
    output: FormatOption = Format.TEXT,
) -> None:
    """Say all that is wrong with a policy directory. Exit 1 if anything is.

    Example: sidecar check policies
    """
    try:
        policy = policy_set.load(directory, engine.value)
    except PolicyError as error:
        if output is Format.JSON:
            typer.echo(json.dumps([asdict(problem) for problem in error.problems], indent=2))
        else:
            typer.echo(str(error))
            number = len(error.problems)
            typer.echo(f"\n{number} problem{'s' if number > 1 else ''}", err=True)
        raise typer.Exit(1) from None
    if output is Format.JSON:
        typer.echo("[]")
    else:
        typer.echo(f"{directory}: {len(policy.rules)} rules, digest {policy.digest[:12]}: good")
