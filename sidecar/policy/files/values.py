"""The types of values in data files: how each is written, its bounds, and what it is read as."""

import contextlib
import re
import sys
from collections.abc import Mapping
from datetime import UTC, datetime, time
from decimal import Decimal
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, PlainSerializer, StringConstraints

from sidecar.domain.clock import MAX_YEAR, MIN_YEAR, to_datetime, to_us
from sidecar.domain.prices import THOUSANDTHS
from sidecar.domain.usage import MAX_TOOL_NAME_BYTES

_DAY = r"(2[01]\d\d|2200)-(0[1-9]|1[0-2])-(0[1-9]|[12]\d|3[01])"
_TIME = r"([01]\d|2[0-3]):[0-5]\d:[0-5]\d(\.\d{1,6})?(Z|[-+]([01]\d|2[0-3]):[0-5]\d)"
_INSTANT = re.compile(rf"{_DAY}([Tt ]{_TIME})?", re.ASCII)
"""A day or a time, from MIN_YEAR to MAX_YEAR; the JSON Schema has the same pattern."""

MAX_LIST_ITEMS = 10_000
"""The most texts of one list; the steps of a rule bound what it may read of them."""


def _ceiling(value: object) -> object:
    """Read `unlimited` and `.inf` as None, and refuse other non-numbers, null included."""
    if value in ("unlimited", float("inf")):
        return None
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError("has to be a number, or unlimited")
    return int(value) if isinstance(value, float) and value.is_integer() else value


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
    moment = None
    with contextlib.suppress(ValueError):  # such as 30 February
        moment = datetime.fromisoformat(value) if isinstance(value, str) else None
    if moment is not None and not MIN_YEAR <= moment.year <= MAX_YEAR:
        raise ValueError(f"has to be between the years {MIN_YEAR} and {MAX_YEAR}")
    if moment is not None and moment.tzinfo is None and moment.time() != time():
        raise ValueError("a time has to have its zone, as in 2026-08-21T12:00:00Z")
    if moment is None or not _INSTANT.fullmatch(str(value)):
        raise ValueError("has to be a day, as in 2026-08-21, or a time, as in 2026-08-21T12:00:00Z")
    return to_us(moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC))


def _written(value: int | Decimal | None) -> str:
    """Write a ceiling or a price as a data file has it."""
    return "unlimited" if value is None else f"{Decimal(value).normalize():f}"


def _written_instant(at_us: int) -> str:
    """Write a day, or a time with its zone."""
    moment = to_datetime(at_us)
    return moment.date().isoformat() if moment.time() == time() else moment.isoformat()


def _written_factor(thousandths: int) -> str:
    return _written(Decimal(thousandths) / THOUSANDTHS)


# As JSON, entries are as they are written: `sidecar diff` shows them to people.
_AS_WRITTEN = PlainSerializer(_written, when_used="json")
_FACTOR_AS_WRITTEN = PlainSerializer(_written_factor, when_used="json")
_INSTANT_AS_WRITTEN = PlainSerializer(_written_instant, when_used="json")

Name = Annotated[str, StringConstraints(min_length=1, max_length=256, pattern=r"^[^\x00-\x1f]+$")]
KeyId = Annotated[
    str, StringConstraints(min_length=1, max_length=256, pattern=r"^[^#\x00-\x1f\x7f-\x9f]+$")
]
"""Without #, since KEY#VERSION names a version."""
Words = Annotated[str, StringConstraints(max_length=1024, pattern=r"^[^\x00-\x1f\x7f-\x9f]*$")]
"""A line of text for people."""
Names = Annotated[tuple[Name, ...], BeforeValidator(_list, json_schema_input_type=list[Name])]
Texts = Annotated[
    tuple[Name, ...],
    Field(max_length=MAX_LIST_ITEMS),
    BeforeValidator(_list, json_schema_input_type=list[Name]),
]
"""A list that rules can read: people, teams, days."""
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
    Count | None, BeforeValidator(_ceiling, json_schema_input_type=Count | Unlimited), _AS_WRITTEN
]
Budget = Annotated[
    Annotated[Decimal, BeforeValidator(_number), _BUDGET_BOUNDS] | None,
    BeforeValidator(_ceiling, json_schema_input_type=Annotated[float, _BUDGET_BOUNDS] | Unlimited),
    _AS_WRITTEN,
]
Usd = Annotated[
    Decimal,
    Field(decimal_places=9),
    _USD_BOUNDS,
    BeforeValidator(_number, json_schema_input_type=Annotated[float, _USD_BOUNDS]),
    _AS_WRITTEN,
]
# Defaults are in the written form, too: 1, not a thousand thousandths.
Factor = Annotated[int, Field(validate_default=True), _thousandths(10), _FACTOR_AS_WRITTEN]
Discount = Annotated[int, Field(validate_default=True), _thousandths(1), _FACTOR_AS_WRITTEN]
Instant = Annotated[
    int,
    BeforeValidator(
        _instant, json_schema_input_type=Annotated[str, Field(pattern=f"^{_INSTANT.pattern}$")]
    ),
    _INSTANT_AS_WRITTEN,
]
