"""The data files: roles, workspaces, models with dated prices, and keys."""

import contextlib
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time
from decimal import Decimal
from typing import Annotated, Any, Literal, get_args

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationError,
)

from sidecar.domain.clock import MAX_YEAR, MIN_YEAR, to_us
from sidecar.domain.prices import THOUSANDTHS
from sidecar.domain.usage import MAX_TOOL_NAME_BYTES
from sidecar.policy.files.problems import Problem, did_you_mean
from sidecar.policy.files.yaml_file import Loc, YamlFile


def _ceiling(value: object) -> object:
    """Read `unlimited` and `.inf` as None, and refuse other non-numbers, null included."""
    if value in ("unlimited", float("inf")):
        return None
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError("has to be a number, or unlimited")
    return value


def _number(value: object) -> object:
    """Read a number as the decimal that is written."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError("has to be a number")
    return Decimal(str(value))


def _thousandths(maximum: int) -> BeforeValidator:
    """Read a factor from 0 to a maximum as whole thousandths."""

    def read(value: object) -> object:
        scaled = Decimal(str(_number(value))) * THOUSANDTHS
        if not scaled.is_finite() or scaled != int(scaled):
            raise ValueError("has to be a number with at most three decimals")
        if not 0 <= scaled <= maximum * THOUSANDTHS:
            raise ValueError(f"has to be from 0 to {maximum}")
        return int(scaled)

    written = Annotated[float, Field(ge=0, le=maximum)]
    return BeforeValidator(read, json_schema_input_type=written)


def _list(value: object) -> object:
    if not isinstance(value, list):
        raise ValueError("has to be a list, as in [mistral-small, codestral]")
    return tuple(value)


def _instant(value: object) -> object:
    """Read a day, which starts at midnight UTC, or a time with its zone."""
    if isinstance(value, str):  # composed from a placeholder
        with contextlib.suppress(ValueError):
            value = datetime.fromisoformat(value)
    if isinstance(value, date) and not MIN_YEAR <= value.year <= MAX_YEAR:
        raise ValueError(f"has to be between the years {MIN_YEAR} and {MAX_YEAR}")
    if isinstance(value, datetime):
        if value.tzinfo is None:
            raise ValueError("a time has to have its zone, as in 2026-08-21T12:00:00Z")
        return to_us(value)
    if isinstance(value, date):
        return to_us(datetime.combine(value, time(), UTC))
    raise ValueError("has to be a day, as in 2026-08-21, or a time, as in 2026-08-21T12:00:00Z")


Name = Annotated[str, StringConstraints(min_length=1, max_length=256, pattern=r"^[^\x00-\x1f]+$")]
KeyId = Annotated[
    str, StringConstraints(min_length=1, max_length=256, pattern=r"^[^#\x00-\x1f\x7f-\x9f]+$")
]
"""Without #, since KEY#VERSION names a version."""
Words = Annotated[str, StringConstraints(max_length=1024, pattern=r"^[^\x00-\x1f\x7f-\x9f]*$")]
"""A line of text for people."""
Names = Annotated[tuple[Name, ...], BeforeValidator(_list, json_schema_input_type=list[Name])]
Labels = Mapping[Name, str]
Tool = Annotated[
    str,
    StringConstraints(min_length=1, max_length=MAX_TOOL_NAME_BYTES, pattern=r"^[\x21-\x7e]+$"),
]
"""A tool that Mistral runs and bills per call, as in web_search."""
EndpointName = Literal[
    "CHAT", "FIM", "EMBEDDINGS", "OCR", "MODERATION", "TRANSCRIPTION", "SPEECH", "REALTIME"
]
Endpoints = Annotated[
    tuple[EndpointName, ...],
    BeforeValidator(_list, json_schema_input_type=list[EndpointName]),
]

# For values that a validator converts, the input type is the written form, which editors get
# by `sidecar schema`. Bounds are declared once for both, in the written unit.
Unlimited = Literal["unlimited"] | Annotated[float, Field(gt=sys.float_info.max)]
"""The written form: the word, or `.inf`, the only number above the maximum."""
_BUDGET_BOUNDS = Field(ge=0, lt=10**9)
_USD_BOUNDS = Field(ge=0, le=10_000)

Count = Annotated[int, Field(strict=True, ge=0, le=10**15)]
CountOrNone = Annotated[
    Count | None, BeforeValidator(_ceiling, json_schema_input_type=Count | Unlimited)
]
Budget = Annotated[
    Annotated[Decimal, BeforeValidator(_number), _BUDGET_BOUNDS] | None,
    BeforeValidator(_ceiling, json_schema_input_type=Annotated[float, _BUDGET_BOUNDS] | Unlimited),
]
Usd = Annotated[
    Decimal,
    Field(decimal_places=9),
    _USD_BOUNDS,
    BeforeValidator(_number, json_schema_input_type=Annotated[float, _USD_BOUNDS]),
]
# Defaults are in the written form, too: 1, not a thousand thousandths.
Factor = Annotated[int, Field(validate_default=True), _thousandths(10)]
Discount = Annotated[int, Field(validate_default=True), _thousandths(1)]
_WRITTEN_INSTANT = r"^\d{4}-\d\d-\d\d([Tt ]\d\d:\d\d:\d\d(\.\d+)?(Z|[-+]\d\d:\d\d))?$"
Instant = Annotated[
    int,
    BeforeValidator(
        _instant, json_schema_input_type=Annotated[str, Field(pattern=_WRITTEN_INSTANT)]
    ),
]


class _Entry(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class PriceEntry(_Entry):
    """A model's prices from a date on; `source` names where they are published.

    Without a price of its own, cached input costs `multipliers.cached_input` times input.
    """

    effective_from: Instant
    input_usd_per_million_tokens: Usd | None = None
    cached_input_usd_per_million_tokens: Usd | None = None
    output_usd_per_million_tokens: Usd | None = None
    usd_per_thousand_pages: Usd | None = None
    usd_per_thousand_annotated_pages: Usd | None = None
    usd_per_minute_of_audio: Usd | None = None
    usd_per_million_characters: Usd | None = None
    usd_per_thousand_calls: Mapping[Tool, Usd] = {}
    source: str = ""


class ModelEntry(_Entry):
    """A model; allow-lists may name it by id, alias or family.

    A request without an endpoint calls chat, or the first of `endpoints` if these are
    without CHAT.
    """

    family: Name
    aliases: Names = ()
    endpoints: Endpoints = ()
    prices: tuple[PriceEntry, ...] = ()
    labels: Labels = {}


class MultipliersEntry(_Entry):
    """Factors on list prices. Cached input is at most 1, since holds assume none is cached."""

    cached_input: Discount = 1
    batch: Factor = 1
    service_tiers: Mapping[Name, Factor] = {}
    regions: Mapping[Name, Factor] = {}


class RoleEntry(_Entry):
    """What principals with a role may do. None is unlimited."""

    allowed_models: Names
    max_tokens_per_request: CountOrNone
    daily_token_budget: CountOrNone
    labels: Labels = {}


class ServiceEntry(_Entry):
    """A service of a workspace."""

    allowed_models: Names


class WorkspaceEntry(_Entry):
    """What a workspace may do and spend. None is unlimited."""

    team: str = ""
    allowed_models: Names
    requests_per_minute: CountOrNone
    monthly_budget_usd: Budget
    services: Mapping[Name, ServiceEntry] = {}
    labels: Labels = {}


class KeyEntry(_Entry):
    """A Mistral API key, by its id, never its secret. None is unlimited, or never expires."""

    workspace: Name
    name: Words = ""
    description: Words = ""
    owner: Words = ""
    allowed_models: Names = ("*",)
    requests_per_minute: CountOrNone = None
    created: Instant | None = None
    expires: Instant | None = None
    state: Literal["active", "revoked"] = "active"
    labels: Labels = {}


class DataFile(_Entry):
    """The content of one data file."""

    models: Mapping[Name, ModelEntry] = {}
    multipliers: MultipliersEntry | None = None
    roles: Mapping[Name, RoleEntry] = {}
    workspaces: Mapping[Name, WorkspaceEntry] = {}
    keys: Mapping[KeyId, KeyEntry] = {}


@dataclass(slots=True)
class Data:
    """All data files of a policy directory together."""

    models: dict[str, ModelEntry] = field(default_factory=dict)
    roles: dict[str, RoleEntry] = field(default_factory=dict)
    workspaces: dict[str, WorkspaceEntry] = field(default_factory=dict)
    keys: dict[str, KeyEntry] = field(default_factory=dict)
    multipliers: MultipliersEntry = field(default_factory=MultipliersEntry)
    names: dict[str, str] = field(default_factory=dict)
    """Model ids by id and alias."""


def read(files: Mapping[str, str]) -> tuple[Data, list[Problem]]:
    """Read all data files; return the data and all problems."""
    data, problems = Data(), []
    multipliers_in = ""
    for file, text in sorted(files.items()):
        document = YamlFile(file, text)
        content, wrong = _validate(document)
        problems += wrong
        if content is None:
            continue
        for section in ("models", "roles", "workspaces", "keys"):
            problems += _merge(document, section, getattr(data, section), getattr(content, section))
        if content.multipliers is not None:
            if multipliers_in:
                problems.append(
                    document.problem(("multipliers",), f"is already in {multipliers_in}")
                )
            data.multipliers, multipliers_in = content.multipliers, file
        problems += _name_models(document, data, content)
        problems += _check_prices(document, content)
        problems += _check_keys(document, content)
    return data, problems


def _validate(document: YamlFile) -> tuple[DataFile | None, list[Problem]]:
    if document.problems:
        return None, document.problems
    try:
        return DataFile.model_validate({} if document.value is None else document.value), []
    except ValidationError as error:
        return None, [describe(document, details) for details in error.errors()]


def describe(
    document: YamlFile, details: Any, inside: Loc = (), schema: type[BaseModel] = DataFile
) -> Problem:
    """Convert a pydantic error to a problem at its place."""
    loc = tuple(part for part in details["loc"] if part != "[key]")
    key = str(loc[-1]) if loc else ""
    place = (*inside, *loc)
    if details["type"] == "extra_forbidden":
        return document.problem(
            place, f"unknown key '{key}'", did_you_mean(key, _keys(schema, loc)), at_key=True
        )
    if details["type"] == "missing":
        return document.problem(place, f"'{key}' is missing")
    message = str(details["msg"]).removeprefix("Value error, ")
    if details["type"] == "literal_error":
        expected = details["ctx"]["expected"].replace("'", "").replace(" or ", ", ")
        hint = did_you_mean(str(details["input"]), expected.split(", "))
        return document.problem(place, f"'{details['input']}' is not a valid {key}", hint)
    about = f"'{key}': " if isinstance(key, str) and not key.isdecimal() and key else ""
    return document.problem(place, f"{about}{message[0].lower()}{message[1:]}")


def _keys(schema: type[BaseModel], loc: Loc) -> set[str]:
    """Return the keys that are valid where an unknown one was found."""
    found: type[BaseModel] | None = schema
    for part in loc[:-1]:
        field = found.model_fields.get(str(part)) if found is not None else None
        if field is not None:
            found = _model_in(field.annotation)
    fields = {} if found is None else found.model_fields
    return {field.alias or name for name, field in fields.items()}


def _model_in(annotation: Any) -> type[BaseModel] | None:
    """Return the model in a type such as a mapping or tuple of it."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    inner = (_model_in(argument) for argument in get_args(annotation))
    return next((model for model in inner if model is not None), None)


def _merge(
    document: YamlFile, section: str, into: dict[str, Any], more: Mapping[str, Any]
) -> list[Problem]:
    duplicates = [
        document.problem((section, name), f"'{name}' is already in another file")
        for name in more
        if name in into
    ]
    into.update(more)
    return duplicates


def _name_models(document: YamlFile, data: Data, content: DataFile) -> list[Problem]:
    """Map each id and alias to its model; report those of two models."""
    problems = []
    for model_id, entry in content.models.items():
        for name in (model_id, *entry.aliases):
            owner = data.names.setdefault(name, model_id)
            if owner != model_id:
                problems.append(
                    document.problem(("models", model_id), f"'{name}' is already a name of {owner}")
                )
    return problems


def _check_prices(document: YamlFile, content: DataFile) -> list[Problem]:
    problems = []
    for model_id, entry in content.models.items():
        starts = [price.effective_from for price in entry.prices]
        if len(set(starts)) != len(starts):
            problems.append(
                document.problem(
                    ("models", model_id, "prices"), "two prices have the same effective_from"
                )
            )
        for index, price in enumerate(entry.prices):
            cached, fresh = (
                price.cached_input_usd_per_million_tokens,
                price.input_usd_per_million_tokens,
            )
            if cached is not None and (fresh is None or cached > fresh):
                key = "cached_input_usd_per_million_tokens"
                place = ("models", model_id, "prices", index, key)
                message = f"'{key}': is more than input_usd_per_million_tokens, which holds assume"
                problems.append(document.problem(place, message))
    return problems


def _check_keys(document: YamlFile, content: DataFile) -> list[Problem]:
    return [
        document.problem(("keys", key_id, "expires"), "is not after `created`")
        for key_id, key in content.keys.items()
        if key.expires is not None and key.created is not None and key.expires <= key.created
    ]
