"""Fixtures: `*_test.yaml`, tests of a policy directory as sequences of steps."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from sidecar.policy.data import Instant, Name, describe
from sidecar.policy.deadline import deadline
from sidecar.policy.directory import read_text
from sidecar.policy.problems import PolicyError, Problem, did_you_mean
from sidecar.policy.yaml_file import Loc, YamlFile

DEFAULT_AT_US = 1_794_312_000_000_000
"""Noon UTC of 10 November 2026: when tests take place that do not say when."""

_PLACEHOLDER = re.compile(r"\$\{(\w+)\}")
_LENGTH = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)")
_UNITS_US = {"ms": 1_000, "s": 10**6, "m": 60 * 10**6, "h": 3600 * 10**6, "d": 86_400 * 10**6}


def _length(value: object) -> object:
    found = _LENGTH.fullmatch(value) if isinstance(value, str) else None
    if found is None:
        raise ValueError("has to be a length of time, as in 90s, 61s, 2h or 1d")
    return int(Decimal(found[1]) * _UNITS_US[found[2]])


def _number(value: object) -> object:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError("has to be a number")
    return Decimal(str(value))


Length = Annotated[int, BeforeValidator(_length, json_schema_input_type=str)]
Amount = Annotated[Decimal, BeforeValidator(_number, json_schema_input_type=float)]


class _Entry(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class PrincipalEntry(_Entry):
    """Who calls."""

    id: str
    role: str
    workspace: str
    key_id: str = ""
    labels: Mapping[str, str] = {}


class EstimateEntry(_Entry):
    """How large the call may become."""

    input_tokens: int | None = None
    input_bytes: int | None = None
    max_output_tokens: int = 0
    choices: int = 0
    pages: int = 0
    audio_seconds: int = 0
    service_tier: str = ""
    batch: bool = False
    region: str = ""


class AuthorizeStep(_Entry):
    """A call that asks. `as` names its hold for later steps; "hold" if it has none."""

    principal: PrincipalEntry
    model: str
    endpoint: Literal["CHAT", "FIM", "EMBEDDINGS", "OCR", "MODERATION", "TRANSCRIPTION"] = "CHAT"
    estimate: EstimateEntry = EstimateEntry(input_tokens=100, max_output_tokens=100)
    dry_run: bool = False
    hold_ttl: Length | None = None
    name: str = Field(default="hold", alias="as")


class SettleStep(_Entry):
    """A call that ended; `usage` is Mistral's object."""

    hold: str = "hold"
    usage: Mapping[str, Any] = {}
    response_model: str = ""


class ReleaseStep(_Entry):
    """A call that was never sent."""

    hold: str = "hold"


class Expectation(_Entry):
    """What has to come; what is left out may be anything.

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


class Step(_Entry):
    """One thing that happens, and what is expected of it."""

    authorize: AuthorizeStep | None = None
    settle: SettleStep | None = None
    release: ReleaseStep | None = None
    advance: Length | None = None
    expect: Expectation = Expectation()

    @model_validator(mode="after")
    def _one_thing(self) -> "Step":
        things = (self.authorize, self.settle, self.release, self.advance)
        if sum(thing is not None for thing in things) != 1:
            raise ValueError("a step is one of authorize, settle, release, advance")
        return self


class Balance(_Entry):
    """What a limit has used before the first step: requests, tokens or USD."""

    rule: Name
    scope: Name
    spent: Amount


class TestEntry(_Entry):
    """One test, or with `each` one for each row of a table."""

    name: str
    at: Instant = DEFAULT_AT_US
    balances: tuple[Balance, ...] = ()
    each: tuple[Mapping[str, Any], ...] = ()
    steps: tuple[Step, ...] = Field(min_length=1)


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
    balances: tuple[Balance, ...]
    steps: tuple[tuple[int, Step], ...]
    """Each with its line in the file."""


def read(directory: Path) -> tuple[list[Fixture], list[Problem]]:
    """Read the fixtures of a policy directory; return them, and all that is wrong."""
    fixtures: list[Fixture] = []
    problems: list[Problem] = []
    try:
        with deadline(str(directory)):
            for path in sorted(directory.glob("*_test.yaml")):
                text, unreadable = read_text(path)
                found, wrong = _tests(YamlFile(path.name, text)) if not unreadable else ([], [])
                fixtures += found
                problems += unreadable + wrong
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
    problems = [
        document.problem(
            (key,), f"unknown key '{key}'", did_you_mean(str(key), ["tests"]), at_key=True
        )
        for key in value
        if key != "tests"
    ]
    for index, entry in enumerate(value["tests"]):
        rows = entry.get("each", [{}]) if isinstance(entry, dict) else [{}]
        for row in rows if isinstance(rows, list) else [{}]:
            wrong = list(_unknown_columns(document, ("tests", index), entry, row))
            problems += [problem for problem in wrong if problem not in problems]
            if wrong:
                continue
            found, wrong = _test(document, ("tests", index), _fill_in(entry, row))
            problems += [problem for problem in wrong if problem not in problems]
            fixtures += found
    return fixtures, problems


def _test(document: YamlFile, loc: Loc, entry: Any) -> tuple[list[Fixture], list[Problem]]:
    try:
        test = TestEntry.model_validate(entry)
    except ValidationError as error:
        # A list whose items are wrong is then said to be too short, which helps nobody.
        errors = [e for e in error.errors() if e["type"] != "too_short"] or error.errors()
        return [], [describe(document, details, loc, TestEntry) for details in errors]
    steps = tuple(
        (document.line((*loc, "steps", number)), step) for number, step in enumerate(test.steps)
    )
    line = document.line(loc)
    return [Fixture(document.file, line, test.name, test.at, test.balances, steps)], []


def _unknown_columns(document: YamlFile, loc: Loc, value: Any, row: Any) -> Iterator[Problem]:
    """Find each placeholder that a row has no value for: it would stay as it is written."""
    if isinstance(value, dict):
        for key, item in value.items():
            if key != "each":
                yield from _unknown_columns(document, (*loc, str(key)), item, row)
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _unknown_columns(document, (*loc, index), item, row)
    elif isinstance(value, str) and isinstance(row, dict):
        for name in _PLACEHOLDER.findall(value):
            if name not in row:
                message = f"the rows of 'each' have no '{name}'" if row else "there is no 'each'"
                yield document.problem(loc, f"${{{name}}}: {message}", did_you_mean(name, row))


def _fill_in(value: Any, row: Any) -> Any:
    """Put a row's values where the placeholders of a test are; the table itself stays."""
    if isinstance(value, dict):
        return {key: _fill_in(item, row) for key, item in value.items() if key != "each"}
    if isinstance(value, list):
        return [_fill_in(item, row) for item in value]
    if not isinstance(value, str) or not isinstance(row, dict):
        return value
    whole = _PLACEHOLDER.fullmatch(value)
    if whole and whole[1] in row:
        return row[whole[1]]
    return _PLACEHOLDER.sub(lambda found: str(row.get(found[1], found[0])), value)
