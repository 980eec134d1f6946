"""`sidecar check`."""

import json
from collections import Counter
from dataclasses import asdict
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from sidecar.cli.options import EngineName, EngineOption, in_directory
from sidecar.policy import data, fixtures, policy_set
from sidecar.policy import directory as policy_directory
from sidecar.policy.lint import lint
from sidecar.policy.policy_set import PolicySet
from sidecar.policy.problems import PolicyError, Problem


class CheckFormat(StrEnum):
    """How to print problems."""

    TEXT = "text"
    JSON = "json"
    GITHUB = "github"
    SARIF = "sarif"


def check(
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="The directory of policies.")],
    engine: EngineOption = EngineName.CEL_CPP,
    strict: Annotated[bool, typer.Option("--strict", help="Exit 1 on warnings, too.")] = False,
    output: Annotated[
        CheckFormat,
        typer.Option(
            "--format",
            envvar="SIDECAR_FORMAT",
            help="github: annotations in a run; sarif: for code scanning.",
        ),
    ] = CheckFormat.TEXT,
) -> None:
    """Say all that is wrong with a policy directory, its fixtures included.

    Exit 1 if anything is. Warnings are of what loads and is probably not meant.
    Example: sidecar check policies --strict
    """
    policy, found = _problems(directory, engine.value)
    problems = [in_directory(directory, problem) for problem in found]
    _print(problems, output)
    errors = sum(not problem.lint for problem in problems)
    warnings = len(problems) - errors
    if output is CheckFormat.TEXT:
        _summarize(directory, policy, errors, warnings)
    if errors or (strict and warnings):
        raise typer.Exit(1)


def _problems(directory: Path, engine: str) -> tuple[PolicySet | None, list[Problem]]:
    _, of_fixtures = fixtures.read(directory)
    try:
        policy = policy_set.load(directory, engine)
    except PolicyError as error:
        return None, sorted([*error.problems, *of_fixtures])
    files = policy_directory.read(directory)
    entries, _ = data.read(files.data)
    return policy, sorted([*lint(files, policy, entries), *of_fixtures])


def _print(problems: list[Problem], output: CheckFormat) -> None:
    if output is CheckFormat.JSON:
        typer.echo(json.dumps([asdict(problem) for problem in problems], indent=2))
    elif output is CheckFormat.SARIF:
        typer.echo(json.dumps(_sarif(problems), indent=2))
    for problem in problems:
        if output is CheckFormat.TEXT:
            typer.echo(problem)
        elif output is CheckFormat.GITHUB:
            typer.echo(_annotation(problem))


def _annotation(problem: Problem) -> str:
    """Write a problem as a workflow command that GitHub shows at its line."""
    level = "warning" if problem.lint else "error"
    place = f"file={problem.file},line={problem.line or 1},col={problem.column or 1}"
    text = f"{problem.message}; {problem.hint}" if problem.hint else problem.message
    escaped = text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")
    return f"::{level} {place}::{escaped}"


def _sarif(problems: list[Problem]) -> dict[str, object]:
    """Write problems as SARIF 2.1.0, which code-scanning tools read."""
    return {
        "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
        "version": "2.1.0",
        "runs": [
            {
                "tool": {"driver": {"name": "sidecar check", "rules": _sarif_rules(problems)}},
                "results": [
                    {
                        "ruleId": problem.lint or "error",
                        "level": "warning" if problem.lint else "error",
                        "message": {
                            "text": "; ".join(filter(None, (problem.message, problem.hint)))
                        },
                        "locations": [
                            {
                                "physicalLocation": {
                                    "artifactLocation": {"uri": problem.file},
                                    "region": {
                                        "startLine": problem.line or 1,
                                        "startColumn": problem.column or 1,
                                    },
                                }
                            }
                        ],
                    }
                    for problem in problems
                ],
            }
        ],
    }


def _sarif_rules(problems: list[Problem]) -> list[dict[str, str]]:
    return [{"id": rule} for rule in sorted({problem.lint or "error" for problem in problems})]


def _summarize(directory: Path, policy: PolicySet | None, errors: int, warnings: int) -> None:
    if errors or policy is None:
        typer.echo(f"\n{_count(errors, 'error')}, {_count(warnings, 'warning')}", err=True)
        return
    counts = Counter(rule.effect.value for rule in policy.rules)
    effects = ", ".join(f"{counts[effect]} {effect}" for effect in ("allow", "deny", "limit"))
    verdict = _count(warnings, "warning") if warnings else "good"
    digest = policy.digest[:12]
    typer.echo(f"{directory}: {len(policy.rules)} rules ({effects}), digest {digest}: {verdict}")


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"
