"""`sidecar check`: every problem of a policy directory."""

from collections import Counter
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from sidecar.cli.options import EngineOption, ShareOption
from sidecar.cli.policies import in_directory
from sidecar.cli.problem_formats import annotation, as_json, sarif
from sidecar.cli.terminal import say, say_all, say_json
from sidecar.domain.counted import counted
from sidecar.domain.share import WHOLE, Share
from sidecar.policy import policy_set
from sidecar.policy.files import data
from sidecar.policy.files import directory as policy_directory
from sidecar.policy.files.problems import PolicyError, Problem
from sidecar.policy.files.timeout import with_timeout
from sidecar.policy.policy_set import PolicySet
from sidecar.policy_tools.lint.lint import lint
from sidecar.policy_tools.testing import fixtures
from sidecar.policy_tools.testing.validate import validate_fixtures
from sidecar.runtime.shared_flags import EngineName


class CheckFormat(StrEnum):
    """How to print problems."""

    TEXT = "text"
    JSON = "json"
    GITHUB = "github"
    SARIF = "sarif"


def check(
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="The directory of policies.")],
    engine: EngineOption = EngineName.CEL_CPP,
    share: ShareOption = WHOLE,
    strict: Annotated[bool, typer.Option("--strict", help="Exit 1 on warnings, too.")] = False,
    output: Annotated[
        CheckFormat,
        typer.Option(
            "--format",
            envvar="SIDECAR_CHECK_FORMAT",
            help="The output format; github is for workflow runs, sarif for code scanning.",
        ),
    ] = CheckFormat.TEXT,
) -> None:
    """Check a policy directory and its test fixtures, and print every problem.

    Exit 1 on errors. A warning is about something that loads, but is probably a mistake.

    Example: sidecar check policies --strict
    """
    policy, found = _problems(directory, engine.value, share)
    problems = [in_directory(directory, problem) for problem in found]
    _print(problems, output)
    errors = sum(not problem.lint for problem in problems)
    warnings = len(problems) - errors
    if output is CheckFormat.TEXT:
        _summarize(directory, policy, errors, warnings)
    if errors or (strict and warnings):
        raise typer.Exit(1)


def _problems(directory: Path, engine: str, share: Share) -> tuple[PolicySet | None, list[Problem]]:
    tests, wrong = fixtures.read(directory)
    found, policy = dict.fromkeys(wrong), None
    try:
        policy = policy_set.load(directory, engine, share=share)
    except PolicyError as error:
        found |= dict.fromkeys(error.problems)

    def look_for_warnings() -> None:
        found.update(dict.fromkeys(validate_fixtures(tests, policy)))
        if policy is not None:
            files = policy_directory.read(directory)
            found.update(dict.fromkeys(lint(files, policy, data.read(files.data)[0], tests)))

    try:
        with_timeout(str(directory), look_for_warnings, what="to look for warnings")
    except PolicyError as error:
        found |= dict.fromkeys(error.problems)
    return policy, sorted(found)


def _print(problems: list[Problem], output: CheckFormat) -> None:
    if output is CheckFormat.JSON:
        say_json([as_json(problem) for problem in problems])
    elif output is CheckFormat.SARIF:
        say_json(sarif(problems))
    for problem in problems:
        if output is CheckFormat.TEXT:
            say_all(str(problem))
        elif output is CheckFormat.GITHUB:
            say(annotation(problem))


def _summarize(directory: Path, policy: PolicySet | None, errors: int, warnings: int) -> None:
    if errors or policy is None:
        others = counted(warnings, "warning")
        if policy is None:
            others = "warnings are looked for once rules and data load"
        say("", f"{counted(errors, 'error')}; {others}", err=True)
        return
    counts = Counter(rule.effect.value for rule in policy.rules)
    effects = ", ".join(f"{counts[effect]} {effect}" for effect in ("allow", "deny", "limit"))
    verdict = counted(warnings, "warning") if warnings else "good"
    say(
        f"{directory}: {counted(len(policy.rules), 'rule')} ({effects}),"
        f" digest {policy.digest}: {verdict}"
    )
