"""`sidecar check`."""

import json
from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from sidecar.cli.options import EngineName, EngineOption, Format, FormatOption, in_directory
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
        problems = [in_directory(directory, problem) for problem in error.problems]
        if output is Format.JSON:
            typer.echo(json.dumps([asdict(problem) for problem in problems], indent=2))
        else:
            for problem in problems:
                typer.echo(problem)
            number = len(problems)
            typer.echo(f"\n{number} problem{'s' if number > 1 else ''}", err=True)
        raise typer.Exit(1) from None
    if output is Format.JSON:
        typer.echo("[]")
    else:
        counts = Counter(rule.effect.value for rule in policy.rules)
        effects = ", ".join(f"{counts[effect]} {effect}" for effect in ("allow", "deny", "limit"))
        typer.echo(
            f"{directory}: {len(policy.rules)} rules ({effects}), digest {policy.digest[:12]}: good"
        )
