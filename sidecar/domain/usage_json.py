"""Parsing of the usage object in a response of Mistral's."""

import json
import re
from typing import Any

from sidecar.domain.usage import (
    MAX_COUNT,
    MAX_TOOL_NAME_BYTES,
    MAX_TOOLS,
    ToolCalls,
    UsageReport,
    tool_calls_of,
)

MAX_USAGE_JSON_BYTES = 65_536

MAX_UNKNOWN_NAMES = 16
"""Unknown names of one report that are logged."""

_WRAPPERS = ("usage", "usage_info", "response", "body", "data")
"""Fields that may contain a usage object: of a response, of an event in a stream, or of a line
in a batch's output, which has a response with a body."""

_INPUT = ("prompt_tokens", "input_tokens")
_OUTPUT = ("completion_tokens", "output_tokens")
"""The second names are those of APIs like OpenAI's Responses."""
_PAGES = "pages_processed"
_ANNOTATED = "pages_processed_annotation"
_TOOLS = "connectors"
_AUDIO = "prompt_audio_seconds"
_TOTAL = "total_tokens"
_DETAILS = ("prompt_tokens_details", "prompt_token_details", "input_tokens_details")
_CACHED = "cached_tokens"
_NUM_CACHED = "num_cached_tokens"
_TIER = "service_tier"
_IN_TOTAL = "connector_tokens"

_KNOWN = frozenset({*_INPUT, *_OUTPUT, _PAGES, _ANNOTATED, _AUDIO, _TOTAL, _NUM_CACHED, _IN_TOTAL})

_CAPITAL = re.compile("[A-Z]")

Document = dict[str, Any]


def parse_usage_json(text: str) -> UsageReport:
    """Read Mistral's usage object, or a whole response that contains one.

    The parts are trusted; of the total, which is 0 for embeddings, only the excess over the
    parts counts. An optional part of the wrong type counts as left out.

    Raises ValueError, which names the field and never its value.
    """
    usage = _usage_object(_document(text))
    mistyped: list[str] = []
    return UsageReport(
        input_tokens=_first_count(usage, _INPUT),
        output_tokens=_first_count(usage, _OUTPUT),
        pages=_first_count(usage, (_PAGES,)),
        cached_input_tokens=_cached_tokens(usage, mistyped),
        audio_seconds=_optional_count(usage, _AUDIO, mistyped),
        total_tokens=_optional_count(usage, _TOTAL, mistyped),
        annotated_pages=_optional_count(usage, _ANNOTATED, mistyped),
        tool_calls=_tool_calls(usage, mistyped),
        service_tier=_optional(usage, _TIER, str, mistyped),
        from_json=True,
        unknown_names=_unknown_names(usage),
        mistyped_names=tuple(mistyped),
    )


def _document(text: str) -> Document:
    if len(text.encode()) > MAX_USAGE_JSON_BYTES:
        raise ValueError(f"is larger than {MAX_USAGE_JSON_BYTES} bytes")
    try:
        document = json.loads(text)
    except (ValueError, RecursionError):
        raise ValueError("is not JSON") from None
    if document is None:  # a response without a usage, in most languages
        return {}
    if not isinstance(document, dict):
        raise ValueError("is not a JSON object")
    return document


def _usage_object(document: Document) -> Document:
    """Return the usage object in a document, or the document itself if it contains none."""
    document = _snake_case(document)
    for _ in _WRAPPERS:
        inner = (document[it] for it in _WRAPPERS if isinstance(document.get(it), dict))
        found = next(inner, None)
        if found is None:
            break
        document = _snake_case(found)
    return document


def _snake_case(document: Document) -> Document:
    """Convert the camel case of Mistral's TypeScript SDK to the API's names.

    That SDK fills in 0 for a count that was left out, so zeros are dropped.
    """
    if not any(map(_CAPITAL.search, document)):
        return document
    return {
        _CAPITAL.sub(lambda it: f"_{it[0].lower()}", name): value
        for name, value in document.items()
        if value != 0
    }


def _first_count(usage: Document, names: tuple[str, ...]) -> int | None:
    """Read a count by the first of its names that is present."""
    for name in names:
        if (value := usage.get(name)) is not None:
            if not _is_number(value):
                raise ValueError(f"{name} is not a number")
            return _whole(value, name)
    return None


def _optional_count(usage: Document, name: str, mistyped: list[str]) -> int | None:
    value = usage.get(name)
    if value is not None and not _is_number(value):
        mistyped.append(name)
        return None
    return None if value is None else _whole(value, name)


def _cached_tokens(usage: Document, mistyped: list[str]) -> int | None:
    """Read the count of cached input tokens, for which Mistral has used several names."""
    for name in _DETAILS:
        details = _optional(usage, name, dict, mistyped) or {}
        cached = _optional_count(_snake_case(details), _CACHED, mistyped)
        if cached is not None:
            return cached
    return _optional_count(usage, _NUM_CACHED, mistyped)


def _tool_calls(usage: Document, mistyped: list[str]) -> ToolCalls | None:
    """Read the number of calls of each tool; None if any entry is invalid."""
    counts = _optional(usage, _TOOLS, dict, mistyped)
    if counts is None:
        return None
    if len(counts) > MAX_TOOLS or not all(
        _is_number(count) and name.isprintable() and 0 < len(name.encode()) <= MAX_TOOL_NAME_BYTES
        for name, count in counts.items()
    ):
        mistyped.append(_TOOLS)
        return None
    return tool_calls_of({name: _whole(count, _TOOLS) for name, count in counts.items()})


def _optional(usage: Document, name: str, kind: type, mistyped: list[str]) -> Any:
    value = usage.get(name)
    if value is not None and not isinstance(value, kind):
        mistyped.append(name)
        return None
    return value


def _unknown_names(usage: Document) -> tuple[str, ...]:
    """Return the names of counts that are not charged."""
    names = [name for name, it in usage.items() if name not in _KNOWN and _is_number(it)]
    return tuple(names[:MAX_UNKNOWN_NAMES])


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _whole(value: Any, name: str) -> int:
    """Return a count as a whole number, with fractions rounded up."""
    if not 0 <= value <= MAX_COUNT:  # also refuses NaN
        raise ValueError(f"{name} is not between 0 and {MAX_COUNT}")
    return int(-(-value // 1))
