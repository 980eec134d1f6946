"""Usage of a call, estimated or reported, in the units that have a price."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

MAX_COUNT = 1_000_000_000
"""The largest count that is accepted, far above any real call."""


class Endpoint(StrEnum):
    """The endpoints of Mistral's API that calls are authorized for."""

    CHAT = "CHAT"
    FIM = "FIM"
    EMBEDDINGS = "EMBEDDINGS"
    OCR = "OCR"
    MODERATION = "MODERATION"
    TRANSCRIPTION = "TRANSCRIPTION"
    SPEECH = "SPEECH"
    REALTIME = "REALTIME"


BY_TOKENS = frozenset({Endpoint.CHAT, Endpoint.FIM, Endpoint.EMBEDDINGS, Endpoint.MODERATION})
"""Endpoints whose tokens are counted. The others are billed by the page, the minute or the
character; a realtime session's tokens count only if its hold has tokens."""

WITH_OUTPUT = frozenset({Endpoint.CHAT, Endpoint.FIM})
"""Endpoints that generate text, up to max_tokens."""

WITHOUT_USAGE = frozenset({Endpoint.MODERATION, Endpoint.SPEECH})
"""Endpoints whose responses may lack a usage, or the count that they are billed by."""


MAX_TOOLS = 32
"""Tool names in one call."""

MAX_TOOL_NAME_BYTES = 64

ToolCalls = tuple[tuple[str, int], ...]
"""The number of calls of each tool that is billed by the call: (name, count), sorted by name."""


def tool_calls_of(counts: Mapping[str, int]) -> ToolCalls:
    """Return the counts sorted by name, without zeros."""
    if not counts:
        return ()
    return tuple(sorted((name, count) for name, count in counts.items() if count))


@dataclass(frozen=True, slots=True)
class Usage:
    """Counts of one call. `input_tokens` includes the cached ones.

    `annotated_pages` are not in `pages`: each page has one of the two prices.
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
    """Counts that an app reported; None is a count that was left out.

    `total_tokens` may be more than input and output. The names of unknown counts, and of parts
    with the wrong type, are only for the log.
    """

    input_tokens: int | None = None
    output_tokens: int | None = None
    cached_input_tokens: int | None = None
    pages: int | None = None
    audio_seconds: int | None = None
    service_tier: str | None = None
    characters: int | None = None
    annotated_pages: int | None = None
    tool_calls: ToolCalls | None = None
    total_tokens: int | None = None
    from_json: bool = field(default=False, compare=False)
    unknown_names: tuple[str, ...] = field(default=(), compare=False)
    mistyped_names: tuple[str, ...] = field(default=(), compare=False)

    def unrecognized(self, endpoint: Endpoint) -> bool:
        """Whether a usage was reported without any count that fits the endpoint.

        A total alone does not count, as it does not say what its parts are.
        """
        counts = [self.pages, self.annotated_pages, self.audio_seconds, self.characters]
        if endpoint in BY_TOKENS or endpoint is Endpoint.REALTIME:
            counts += [self.input_tokens, self.output_tokens]
        known = self.tool_calls is not None or counts.count(None) < len(counts)
        reported = self.from_json or self != UsageReport()
        return reported and not known and endpoint not in WITHOUT_USAGE

    def uncharged_names(self, endpoint: Endpoint) -> tuple[str, ...]:
        """Return Mistral's names of the counts that were reported and cost nothing."""
        if self.total_tokens and endpoint not in BY_TOKENS:
            return (*self.unknown_names, "total_tokens")
        return self.unknown_names

    def completed(self, endpoint: Endpoint, held: Usage) -> Usage:
        """Return the usage to charge: a count that was left out is charged as held.

        Cached tokens are a discount: without a report there are none, and they never exceed
        the input. Tokens count only if the hold has tokens or the endpoint is billed by them.
        If a report names any tools, tools that it does not name were not called.

        A total above input and output is input that Mistral added, such as by connectors;
        for a call with audio it is the audio, which is billed by time.
        """
        input_tokens = output_tokens = cached_input_tokens = 0
        audio_seconds = _first(self.audio_seconds, held.audio_seconds)
        if endpoint in BY_TOKENS or held.tokens:
            input_tokens = _first(self.input_tokens, held.input_tokens)
            output_tokens = _first(self.output_tokens, held.output_tokens)
            cached_input_tokens = min(self.cached_input_tokens or 0, input_tokens)
        if self.total_tokens and endpoint in BY_TOKENS and not audio_seconds:
            input_tokens += max(0, self.total_tokens - input_tokens - output_tokens)
        return Usage(
            input_tokens=input_tokens,
            output_tokens=output_tokens,
            cached_input_tokens=cached_input_tokens,
            pages=self._plain_pages(held),
            audio_seconds=audio_seconds,
            characters=_first(self.characters, held.characters),
            annotated_pages=_first(self.annotated_pages, held.annotated_pages),
            tool_calls=held.tool_calls if self.tool_calls is None else self.tool_calls,
        )

    def _plain_pages(self, held: Usage) -> int:
        """Return the pages to charge that were not annotated.

        Responses of the SDK lack the count of annotated pages. These are then charged as
        held, and subtracted here, so that none is charged twice.
        """
        pages = _first(self.pages, held.pages)
        if self.from_json and self.annotated_pages is None:
            more = max(0, pages - held.pages)
            return pages - min(more, held.annotated_pages)
        return pages


def _first(reported: int | None, held: int) -> int:
    return held if reported is None else reported
