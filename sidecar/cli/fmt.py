"""`sidecar fmt`: writes rules in the canonical layout."""

import difflib
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer

from sidecar.cli.options import fail, fail_all
from sidecar.cli.policies import in_directory
from sidecar.cli.terminal import say, say_all
from sidecar.domain.counted import counted
from sidecar.files import whole_file
from sidecar.policy import policy_set
from sidecar.policy.cel.cel_python import CelPythonEngine
from sidecar.policy.expressions import ExpressionCompiler
from sidecar.policy.files import data, header
from sidecar.policy.files import directory as policy_directory
from sidecar.policy.files.directory import PolicyFiles
from sidecar.policy.files.problems import PolicyError, Problem
from sidecar.policy.files.timeout import with_timeout
from sidecar.policy.rules import RuleReader
from sidecar.policy_tools.format import format_rule


def fmt(
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="The directory of policies.")],
    check: Annotated[
        bool, typer.Option("--check", help="Write nothing; exit 1 if a rule would change.")
    ] = False,
    diff: Annotated[
        bool, typer.Option("--diff", help="As --check, and show what would change.")
    ] = False,
) -> None:
    """Format every rule (*.cel) in the canonical layout; data files are left alone.

    Comments are kept, and no rule changes its meaning. A rule with errors is left alone, and
    they are shown.

    Example: sidecar fmt policies --diff
    """
    try:
        files, formatted, problems = with_timeout(str(directory), lambda: _format(directory))
    except PolicyError as error:
        raise fail_all(str(error)) from None
    changed = {name: text for name, text in formatted.items() if text != files.rules[name]}
    for name, text in changed.items():
        path = directory / name
        if diff:
            say_all("".join(_difference(path, files.rules[name], text)))
        elif check:
            say(f"would format {path}")
        else:
            _write(path, text)
            say(f"formatted {path}")
    problems += [problem for problem in files.problems if problem.file.endswith(".cel")]
    for problem in sorted(problems):
        say_all(str(in_directory(directory, problem)), err=True)
    if not diff:
        what = "not in canonical layout" if check else "formatted"
        say(f"{directory}: {counted(len(files.rules), 'rule')}, {len(changed)} {what}")
    if problems or (changed and (check or diff)):
        raise typer.Exit(1)


def _format(directory: Path) -> tuple[PolicyFiles, dict[str, str], list[Problem]]:
    """Return the files, the canonical texts of the rules without problems, and the problems."""
    files = policy_directory.read(directory)
    parser = CelPythonEngine()
    entries, _ = data.read(files.data)
    largest = policy_set.largest(files, entries)
    compiler = ExpressionCompiler(parser, parser, policy_set.cel_cpp(), largest, entries.lists)
    reader = RuleReader(compiler)
    formatted: dict[str, str] = {}
    problems: list[Problem] = []
    for name, text in files.rules.items():
        rule, wrong = reader.read(name, text)
        problems += wrong
        if rule is not None:
            formatted[name] = format_rule(text, header.parse(name, text)[0])
    return files, formatted, problems


def _difference(path: Path, before: str, after: str) -> Iterator[str]:
    """Return a unified diff, for `patch` and for people."""
    old, new = before.splitlines(keepends=True), after.splitlines(keepends=True)
    for line in difflib.unified_diff(old, new, str(path), f"{path} (formatted)"):
        yield line if line.endswith("\n") else f"{line}\n\\ No newline at end of file\n"


def _write(path: Path, text: str) -> None:
    """Replace the text of a file, and keep who may read it."""
    file = path.resolve()
    try:
        whole_file.replace(file, text.encode(), stat.S_IMODE(file.stat().st_mode))
    except OSError as error:
        raise fail(f"{path}: cannot be written: {error.strerror}") from None
