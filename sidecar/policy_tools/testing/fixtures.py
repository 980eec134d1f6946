"""Fixtures: `*_test.yaml` files, tests of a policy directory as sequences of steps."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from sidecar.domain.bounds import MAX_CHOICES, MAX_ID_BYTES
from sidecar.domain.usage import MAX_COUNT
from sidecar.domain.usage_json import parse_usage_json
from sidecar.policy.files.data import EndpointName, Instant, Name, describe
from sidecar.policy.files.directory import fixture_files, read_text
from sidecar.policy.files.problems import PolicyError, Problem, did_you_mean
from sidecar.policy.files.timeout import with_timeout
from sidecar.policy.files.yaml_file import Loc, YamlFile
from sidecar.policy_tools.testing.placeholders import Template

DEFAULT_AT_US = 1_794_312_000_000_000
"""Noon UTC of 10 November 2026: the time of tests that set none."""

MAX_TESTS = 5_000
"""Of a directory. Each runs on a ledger of its own, once for each evaluator."""

MAX_FILLED_IN = 8_000_000
"""Characters that the tests of one file have, with their rows filled in."""

MAX_DAYS = 3_660
"""The longest that a step may take."""

MAX_DAYS_TOGETHER = 36_600

_LENGTH = re.compile(r"(\d{1,12}(?:\.\d{1,6})?)(ms|s|m|h|d)")
_UNITS_US = {"ms": 1_000, "s": 10**6, "m": 60 * 10**6, "h": 3600 * 10**6, "d": 86_400 * 10**6}


MAX_AMOUNT = 10**15


def _length(value: object) -> object:
    found = _LENGTH.fullmatch(value) if isinstance(value, str) else None
    if found is None:
        raise ValueError("has to be a length of time, as in 90s, 61s, 2h or 1d")
    length_us = int(Decimal(found[1]) * _UNITS_US[found[2]])
    if length_us > MAX_DAYS * _UNITS_US["d"]:
        raise ValueError(f"is longer than {MAX_DAYS} days")
    return length_us


def _number(value: object) -> object:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError("has to be a number")
    if not abs(value) <= MAX_AMOUNT:  # nor is .nan one
        raise ValueError("has to be a number that can be counted")
    return Decimal(str(value))


def _usage(value: object) -> object:
    try:
        parse_usage_json(json.dumps(value))
    except TypeError:
        raise ValueError("has a value that is not JSON, such as a day") from None
    return value


Length = Annotated[
    int,
    BeforeValidator(
        _length, json_schema_input_type=Annotated[str, Field(pattern=f"^{_LENGTH.pattern}$")]
    ),
]
_WrittenAmount = Annotated[float, Field(ge=-MAX_AMOUNT, le=MAX_AMOUNT)]
Amount = Annotated[Decimal, BeforeValidator(_number, json_schema_input_type=_WrittenAmount)]
Spent = Annotated[
    Decimal,
    Field(ge=0),
    BeforeValidator(_number, json_schema_input_type=Annotated[float, Field(ge=0, le=MAX_AMOUNT)]),
]
Count = Annotated[int, Field(ge=0, le=MAX_COUNT)]


class _Entry(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class PrincipalEntry(_Entry):
    """The principal of a call."""

    id: str
    role: str
    workspace: str
    key_id: str = ""
    labels: Mapping[str, str] = {}


class EstimateEntry(_Entry):
    """The estimate of a call."""

    input_tokens: Count | None = None
    input_bytes: Count | None = None
    max_output_tokens: Count = 0
    choices: Annotated[int, Field(ge=0, le=MAX_CHOICES)] = 0
    pages: Count = 0
    audio_seconds: Count = 0
    service_tier: str = ""
    batch: bool = False
    region: str = ""
    characters: Count = 0
    annotated_pages: Count = 0
    tool_calls: Mapping[str, Count] = {}


class AuthorizeStep(_Entry):
    """An Authorize call. `as` names its hold for later steps; the default is "hold"."""

    principal: PrincipalEntry
    model: str
    endpoint: EndpointName | None = None
    estimate: EstimateEntry = EstimateEntry(input_tokens=100, max_output_tokens=100)
    dry_run: bool = False
    hold_ttl: Length | None = None
    name: str = Field(default="hold", alias="as")


class SettleStep(_Entry):
    """A call that ended; `usage` is Mistral's object."""

    hold: str = "hold"
    usage: Annotated[Mapping[str, Any], BeforeValidator(_usage)] = {}
    response_model: Annotated[str, Field(max_length=MAX_ID_BYTES)] = ""


class ReleaseStep(_Entry):
    """A call that was never sent."""

    hold: str = "hold"


class Expectation(_Entry):
    """The expected result; fields that are left out are not compared.

    `remaining` is by rule, in requests, tokens or USD; `unlimited` is written so.
    """

    effect: Literal["allow", "deny"] | None = None
    reasons: tuple[str, ...] | None = None
    rules: tuple[str, ...] | None = None
    shadow: tuple[str, ...] | None = None
    max_output_tokens: int | None = None
    held_usd: Amount | None = None
    charged_usd: Amount | None = None
    charged_tokens: int | None = None
    remaining: Mapping[Name, Amount | Literal["unlimited"]] = {}


THINGS = ("authorize", "settle", "release", "advance")


class FixtureStep(_Entry):
    """One event, and the expected result."""

    model_config = ConfigDict(
        json_schema_extra={"oneOf": [{"required": [thing]} for thing in THINGS]}
    )

    authorize: AuthorizeStep | None = None
    settle: SettleStep | None = None
    release: ReleaseStep | None = None
    advance: Length | None = None
    expect: Expectation = Expectation()

    @model_validator(mode="after")
    def _one_thing(self) -> "FixtureStep":
        if sum(getattr(self, thing) is not None for thing in THINGS) != 1:
            raise ValueError(f"a step is one of {', '.join(THINGS)}")
        return self


class BalanceEntry(_Entry):
    """What a limit has used before the first step: requests, tokens or USD."""

    rule: Name
    scope: Name
    spent: Spent


class TestEntry(_Entry):
    """One test, or with `each` one for each row of a table."""

    name: str
    at: Instant = DEFAULT_AT_US
    balances: tuple[BalanceEntry, ...] = ()
    each: tuple[Mapping[str, Any], ...] = ()
    steps: tuple[FixtureStep, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _not_too_far(self) -> "TestEntry":
        if sum(step.advance or 0 for step in self.steps) > MAX_DAYS_TOGETHER * _UNITS_US["d"]:
            raise ValueError(f"the steps advance by more than {MAX_DAYS_TOGETHER} days")
        return self


class FixtureFile(_Entry):
    """What one fixture file may hold."""

    tests: tuple[TestEntry, ...]


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

    def problem(self, loc: Loc, message: str, hint: str = "", *, at_key: bool = False) -> Problem:
        """Make a problem at a place within the test."""
        return self.document.problem((*self.loc, *loc), message, hint, at_key=at_key)


def read(directory: Path) -> tuple[list[Fixture], list[Problem]]:
    """Read the fixtures of a policy directory; return them and all problems."""
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
        if size > MAX_FILLED_IN:
            message = f"the tests of this file have more than {MAX_FILLED_IN:,} characters"
            problems[template.problem(f"{message}, with all rows filled in")] = None
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
