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
from sidecar.policy.files.data import describe
from sidecar.policy.files.directory import fixture_files, read_text
from sidecar.policy.files.problems import PolicyError, Problem, did_you_mean
from sidecar.policy.files.timeout import with_timeout
from sidecar.policy.files.values import EndpointName, Instant, Name
from sidecar.policy.files.yaml_file import Loc, YamlFile
from sidecar.policy_tools.testing.placeholders import Template

DEFAULT_AT_US = 1_794_312_000_000_000
"""Noon UTC of 10 November 2026: the time of tests that set none."""

MAX_TESTS = 5_000
"""The most tests of a directory. Each runs on a ledger of its own, once on each engine."""

MAX_EXPANDED_CHARACTERS = 8_000_000
"""The most characters of one file's tests, with placeholders replaced in every row."""

MAX_STEP_DAYS = 3_660
"""The most days that one step may advance."""

MAX_TEST_DAYS = 36_600
"""The most days that the steps of one test may advance, in total."""

_DURATION = re.compile(r"(\d{1,12}(?:\.\d{1,6})?)(ms|s|m|h|d)")
_UNITS_US = {"ms": 1_000, "s": 10**6, "m": 60 * 10**6, "h": 3600 * 10**6, "d": 86_400 * 10**6}


MAX_AMOUNT = 10**15


def _duration_us(value: object) -> object:
    found = _DURATION.fullmatch(value) if isinstance(value, str) else None
    if found is None:
        raise ValueError("has to be a duration, such as 90s, 2h or 1d")
    duration_us = int(Decimal(found[1]) * _UNITS_US[found[2]])
    if duration_us > MAX_STEP_DAYS * _UNITS_US["d"]:
        raise ValueError(f"is longer than {MAX_STEP_DAYS} days")
    return duration_us


def _number(value: object) -> object:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError("has to be a number")
    if not abs(value) <= MAX_AMOUNT:  # .nan compares as False
        raise ValueError(f"has to be a number between -{MAX_AMOUNT:,} and {MAX_AMOUNT:,}")
    return Decimal(str(value))


def _usage(value: object) -> object:
    parse_usage_json(json.dumps(value))
    return value


DurationUs = Annotated[
    int,
    BeforeValidator(
        _duration_us, json_schema_input_type=Annotated[str, Field(pattern=f"^{_DURATION.pattern}$")]
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
    hold_ttl: DurationUs | None = None
    name: str = Field(default="hold", alias="as")


class SettleStep(_Entry):
    """A Settle call; `usage` is the object in Mistral's response."""

    hold: str = "hold"
    usage: Annotated[Mapping[str, Any], BeforeValidator(_usage)] = {}
    response_model: Annotated[str, Field(max_length=MAX_ID_BYTES)] = ""


class ReleaseStep(_Entry):
    """A Release call: the call to Mistral was never sent."""

    hold: str = "hold"


class Expectation(_Entry):
    """The expected result; fields that are left out are not compared.

    `warnings` are codes. `remaining` is what is left of each rule, in requests, tokens or USD, or
    `unlimited`. The `fitting_` ones are 0 and an empty list where nothing would fit; the models
    are in their order.
    """

    effect: Literal["allow", "deny"] | None = None
    reasons: tuple[str, ...] | None = None
    rules: tuple[str, ...] | None = None
    shadow: tuple[str, ...] | None = None
    max_output_tokens: int | None = None
    warnings: tuple[str, ...] | None = None
    fitting_max_output_tokens: Count | None = None
    fitting_models: tuple[str, ...] | None = None
    held_usd: Amount | None = None
    charged_usd: Amount | None = None
    charged_tokens: int | None = None
    remaining: Mapping[Name, Amount | Literal["unlimited"]] = {}

    @property
    def is_empty(self) -> bool:
        """Whether nothing is compared."""
        return self == Expectation()

    @property
    def names_what_fits(self) -> bool:
        """Whether what would fit instead of a denied call is compared; it takes dry runs."""
        return self.fitting_max_output_tokens is not None or self.fitting_models is not None


_OF_CHARGES = frozenset({"charged_usd", "charged_tokens", "remaining"})
EXPECTED_OF = {
    "authorize": frozenset(Expectation.model_fields) - {"charged_usd", "charged_tokens"},
    "settle": _OF_CHARGES,
    "release": _OF_CHARGES,
    "advance": frozenset[str](),
}
"""The expectations that a step of each kind compares; any other is an error."""

STEP_KINDS = tuple(EXPECTED_OF)


def _as_schema(expected: frozenset[str]) -> dict[str, Any]:
    """Return the JSON Schema of a step with these expectations."""
    names = {"propertyNames": {"enum": sorted(expected)}}
    return {"properties": {"expect": names if expected else False}}


class FixtureStep(_Entry):
    """One event of a test, and the expected result."""

    model_config = ConfigDict(
        json_schema_extra={
            "oneOf": [{"required": [kind]} for kind in STEP_KINDS],
            "dependencies": {kind: _as_schema(names) for kind, names in EXPECTED_OF.items()},
        }
    )

    authorize: AuthorizeStep | None = None
    settle: SettleStep | None = None
    release: ReleaseStep | None = None
    advance: DurationUs | None = None
    expect: Expectation = Expectation()

    @model_validator(mode="after")
    def _has_one_kind(self) -> "FixtureStep":
        if sum(getattr(self, kind) is not None for kind in STEP_KINDS) != 1:
            raise ValueError(f"a step is one of {', '.join(STEP_KINDS)}")
        return self

    @property
    def kind(self) -> str:
        """One of STEP_KINDS."""
        return next(kind for kind in STEP_KINDS if getattr(self, kind) is not None)


class BalanceEntry(_Entry):
    """What a limit has spent before the first step, in requests, tokens or USD."""

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
    def _bounded_in_time(self) -> "TestEntry":
        if sum(step.advance or 0 for step in self.steps) > MAX_TEST_DAYS * _UNITS_US["d"]:
            raise ValueError(f"the steps advance by more than {MAX_TEST_DAYS} days")
        return self


class FixtureFile(_Entry):
    """The content of one fixture file."""

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
