"""The content of a fixture file: tests, their steps, and what they expect."""

import json
import re
from collections.abc import Mapping
from decimal import Decimal
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from sidecar.domain.bounds import MAX_CHOICES, MAX_ID_BYTES
from sidecar.domain.usage import MAX_COUNT
from sidecar.domain.usage_json import parse_usage_json
from sidecar.policy.files.values import EndpointName, Instant, Name

DEFAULT_AT_US = 1_794_312_000_000_000
"""Noon UTC of 10 November 2026: the time of tests that set none."""

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
