"""The policy directory of a command: loads it, or prints its problems."""

from dataclasses import replace
from datetime import UTC, tzinfo
from pathlib import Path

from sidecar.cli.options import fail_all
from sidecar.domain.share import WHOLE, Share
from sidecar.domain.texts import printable
from sidecar.policy import policy_set
from sidecar.policy.files.problems import PolicyError, Problem
from sidecar.policy.policy_set import PolicySet


def in_directory(directory: Path, problem: Problem) -> Problem:
    """Name a problem's file as an editor can open it."""
    if problem.file == printable(str(directory)):
        return problem
    return replace(problem, file=str(directory / problem.file))


def load_policies(
    directory: Path,
    engine: str,
    share: Share = WHOLE,
    zone: tzinfo = UTC,
    *,
    exit_code: int = 1,
) -> PolicySet:
    """Load a policy directory, or print all that is wrong and exit."""
    try:
        return policy_set.load(directory, engine, share=share, zone=zone)
    except PolicyError as error:
        problems = (str(in_directory(directory, problem)) for problem in error.problems)
        raise fail_all("\n".join(problems), exit_code) from None
