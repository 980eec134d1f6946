"""Fixtures: `*_test.yaml` files, tests of a policy directory as sequences of steps."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from sidecar.policy.files.data import describe
from sidecar.policy.files.directory import fixture_files, read_text
from sidecar.policy.files.problems import PolicyError, Problem, did_you_mean
from sidecar.policy.files.timeout import with_timeout
from sidecar.policy.files.yaml_file import Loc, YamlFile
from sidecar.policy_tools.testing.fixture_file import BalanceEntry, FixtureStep, TestEntry
from sidecar.policy_tools.testing.placeholders import Template

MAX_TESTS = 5_000
"""The most tests of a directory. Each runs on a ledger of its own, once on each engine."""

MAX_EXPANDED_CHARACTERS = 8_000_000
"""The most characters of one file's tests, with placeholders replaced in every row."""


@dataclass(frozen=True, slots=True)
class Fixture:
    """One test to run, with the place of each of its steps."""

    file: str
    line: int
    name: str
    at_us: int
    balances: tuple[BalanceEntry, ...]
    steps: tuple[tuple[int, FixtureStep], ...]
    """Each with its line in the file."""
    document: YamlFile = field(repr=False, compare=False)
    loc: Loc
    """The place of the test in the file."""

    def problem(self, loc: Loc, message: str, hint: str = "", *, at_key: bool = False) -> Problem:
        """Return a problem at a place within the test."""
        return self.document.problem((*self.loc, *loc), message, hint, at_key=at_key)


def read(directory: Path) -> tuple[list[Fixture], list[Problem]]:
    """Read the fixtures of a policy directory; return them, and all problems."""
    fixtures: list[Fixture] = []
    problems: list[Problem] = []

    def read_all() -> None:
        for path in fixture_files(directory):
            text, unreadable = read_text(path)
            found, wrong = _tests(YamlFile(path.name, text)) if not unreadable else ([], [])
            fixtures.extend(found)
            problems.extend(unreadable + wrong)
            if len(fixtures) > MAX_TESTS:
                message = f"has more than {MAX_TESTS:,} tests"
                problems.append(Problem(str(directory), 0, 0, message))
                break

    try:
        with_timeout(str(directory), read_all)
    except PolicyError as error:
        problems += error.problems
    return fixtures, problems


def _tests(document: YamlFile) -> tuple[list[Fixture], list[Problem]]:
    value = document.value
    if document.problems:
        return [], document.problems
    if not isinstance(value, dict) or not isinstance(value.get("tests"), list):
        return [], [document.problem((), "a fixture file has a list under 'tests:'")]
    fixtures: list[Fixture] = []
    problems = dict.fromkeys(
        document.problem(
            (key,), f"unknown key '{key}'", did_you_mean(str(key), ["tests"]), at_key=True
        )
        for key in value
        if key != "tests"
    )
    size = 0
    for index, entry in enumerate(value["tests"]):
        template = Template(document, ("tests", index), entry)
        problems |= dict.fromkeys(template.problems)
        size += template.size
        if size > MAX_EXPANDED_CHARACTERS:
            message = (
                f"the tests of this file have more than {MAX_EXPANDED_CHARACTERS:,} characters"
            )
            problems[template.problem(f"{message}, counting every row of 'each'")] = None
            break
        for test in () if template.problems else template.tests():
            found, wrong = _test(document, ("tests", index), test)
            problems |= dict.fromkeys(wrong)
            fixtures += found
    return fixtures, list(problems)


def _test(document: YamlFile, loc: Loc, entry: Any) -> tuple[list[Fixture], list[Problem]]:
    try:
        test = TestEntry.model_validate(entry)
    except ValidationError as error:
        # A list with invalid items is also reported as too short, which is misleading.
        errors = [e for e in error.errors() if e["type"] != "too_short"] or error.errors()
        return [], [describe(document, details, loc, TestEntry) for details in errors]
    steps = tuple(
        (document.line((*loc, "steps", number)), step) for number, step in enumerate(test.steps)
    )
    line = document.line(loc)
    fixture = Fixture(document.file, line, test.name, test.at, test.balances, steps, document, loc)
    return [fixture], []
