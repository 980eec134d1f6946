"""What a call may use, and what it has used, in units that have a price."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

MAX_COUNT = 1_000_000_000
"""The largest count accepted anywhere: no real call comes near it."""

MAX_USAGE_JSON_BYTES = 65_536


class Endpoint(StrEnum):
    """The endpoints of Mistral's API that are guarded."""

    CHAT = "CHAT"
    FIM = "FIM"
    EMBEDDINGS = "EMBEDDINGS"
    OCR = "OCR"
    MODERATION = "MODERATION"
    TRANSCRIPTION = "TRANSCRIPTION"
    SPEECH = "SPEECH"
    REALTIME = "REALTIME"


BY_TOKENS = frozenset({Endpoint.CHAT, Endpoint.FIM, Endpoint.EMBEDDINGS, Endpoint.MODERATION})
"""Endpoints whose tokens are counted. The others are billed by the page, the minute or
the character; a realtime session's tokens count where its hold has some."""

WITH_OUTPUT = frozenset({Endpoint.CHAT, Endpoint.FIM})
"""Endpoints that generate text, up to max_tokens."""


MAX_TOOLS = 32
"""Names of tools in one call."""

MAX_TOOL_NAME_BYTES = 64

ToolCalls = tuple[tuple[str, int], ...]
"""How often each tool was called that is billed by the call: name and count, by name."""


def tool_calls_of(counts: Mapping[str, int]) -> ToolCalls:
    """Return the counts in their one order. A count of 0 is left out."""
    if not counts:
        return ()
    return tuple(sorted((name, count) for name, count in counts.items() if count))


@dataclass(frozen=True, slots=True)
class Usage:
    """Counts of one call. `input_tokens` includes the cached ones.

    `annotated_pages` are not in `pages`: a page has one price or the other.
    """

    input_tokens: int = 0
    output_tokens: int = 0
    cached_input_tokens: int = 0
    pages: int = 0
    audio_seconds: int = 0
    characters: int = 0
    annotated_pages: int = 0
    tool_calls: ToolCalls = ()

    @property
    def tokens(self) -> int:
        """Input and output together: what a limit on tokens counts."""
        return self.input_tokens + self.output_tokens


@dataclass(frozen=True, slots=True)
class UsageReport:
    """Counts that somebody reported; None is a count that was left out."""

    input_tokens: int | None = None
    output_tokens: int | None = None
    cached_input_tokens: int | None = None
    pages: int | None = None
    audio_seconds: int | None = None
    service_tier: str | None = None
    characters: int | None = None
    annotated_pages: int | None = None
    tool_calls: ToolCalls | None = None

    def completed(self, endpoint: Endpoint, held: Usage) -> Usage:
        """Return the usage to charge: what was left out counts as it was held.

        Cached tokens are a discount, so they never exceed the input, and none
        are assumed. Tokens count only where they were held. Tools are left out
        together: those that a report does not name were not called.
        """
        input_tokens = output_tokens = cached_input_tokens = 0
        if endpoint in BY_TOKENS or held.tokens:
            input_tokens = _first(self.input_tokens, held.input_tokens)
            output_tokens = _first(self.output_tokens, held.output_tokens)
            cached_input_tokens = min(self.cached_input_tokens or 0, input_tokens)
        return Usage(
            input_tokens=input_tokens,
            output_tokens=output_tokens,
            cached_input_tokens=cached_input_tokens,
            pages=_first(self.pages, held.pages),
            audio_seconds=_first(self.audio_seconds, held.audio_seconds),
            characters=_first(self.characters, held.characters),
            annotated_pages=_first(self.annotated_pages, held.annotated_pages),
            tool_calls=held.tool_calls if self.tool_calls is None else self.tool_calls,
        )


def parse_usage_json(text: str) -> UsageReport:
    """Read Mistral's usage object as it came, or a whole response around it.

    Unknown fields are ignored and `total_tokens` is not trusted (it is 0 for
    embeddings); the parts are. The cached count has had three spellings.

    Raises ValueError, which names the field and never its value.
    """
    if len(text.encode()) > MAX_USAGE_JSON_BYTES:
        raise ValueError(f"is larger than {MAX_USAGE_JSON_BYTES} bytes")
    try:
        document = json.loads(text)
    except (ValueError, RecursionError):
        raise ValueError("is not JSON") from None
    if not isinstance(document, dict):
        raise ValueError("is not a JSON object")
    for wrapper in ("usage", "usage_info"):
        if isinstance(document.get(wrapper), dict):
            document = document[wrapper]
    details = document.get("prompt_tokens_details", document.get("prompt_token_details"))
    cached = details.get("cached_tokens") if isinstance(details, dict) else None
    tier = document.get("service_tier")
    return UsageReport(
        input_tokens=_count(document.get("prompt_tokens"), "prompt_tokens"),
        output_tokens=_count(document.get("completion_tokens"), "completion_tokens"),
        cached_input_tokens=_count(
            document.get("num_cached_tokens") if cached is None else cached, "cached_tokens"
        ),
        pages=_count(document.get("pages_processed"), "pages_processed"),
        audio_seconds=_count(document.get("prompt_audio_seconds"), "prompt_audio_seconds"),
        service_tier=tier if isinstance(tier, str) else None,
    )


def _first(reported: int | None, held: int) -> int:
    return held if reported is None else reported


def _count(value: Any, field: str) -> int | None:
    """Accept a whole number of things, or a fraction of one, rounded up."""
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError(f"{field} is not a number")
    if not 0 <= value <= MAX_COUNT:  # also refuses NaN
        raise ValueError(f"{field} is not between 0 and {MAX_COUNT}")
    return int(-(-value // 1))
