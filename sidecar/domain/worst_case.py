"""The worst case of a call: the usage that is held for it."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from sidecar.domain.decisions import Meter
from sidecar.domain.prices import Tariff, Terms
from sidecar.domain.usage import BY_TOKENS, WITH_OUTPUT, Endpoint, ToolCalls, Usage

_HELD_BY_TOKENS = BY_TOKENS | {Endpoint.REALTIME}


@dataclass(frozen=True, slots=True)
class CallSize:
    """The most that a call can use. `max_output_tokens` is for each choice."""

    endpoint: Endpoint
    most: Usage
    choices: int
    max_output_tokens: int
    terms: Terms

    def cost_nano_usd(self, tariff: Tariff | None) -> int:
        """Return the most that the call can cost; 0 without a tariff. Raises UnpricedError."""
        return 0 if tariff is None else tariff.bound_nano_usd(self.endpoint, self.most, self.terms)

    def amounts(self, cost_nano_usd: int) -> Mapping[Meter, int]:
        """Return what the call takes of a limit, by the limit's meter."""
        return {Meter.REQUESTS: 1, Meter.TOKENS: self.most.tokens, Meter.COST: cost_nano_usd}

    def with_output(self, max_output_tokens: int) -> "CallSize":
        """Return the size of the same call with other output tokens for each choice."""
        most = replace(self.most, output_tokens=max_output_tokens * self.choices)
        return replace(self, most=most, max_output_tokens=max_output_tokens)


def worst_case(
    endpoint: Endpoint,
    *,
    input_tokens: int,
    requested_output_tokens: int,
    choices: int,
    pages: int,
    audio_seconds: int,
    characters: int = 0,
    annotated_pages: int = 0,
    tool_calls: ToolCalls = (),
    terms: Terms,
    role_max_tokens: int | None,
) -> CallSize | None:
    """Return the most that the call can use, or None when its output has no bound.

    `requested_output_tokens` 0 means that the app left it out: then it is what the input leaves
    of the role's maximum, and at least 1. A realtime session has the tokens that the app
    states, if any.
    """
    output_tokens = requested_output_tokens if endpoint is Endpoint.REALTIME else 0
    if endpoint in WITH_OUTPUT:
        if requested_output_tokens:
            output_tokens = requested_output_tokens
        elif role_max_tokens is None:
            return None
        else:
            output_tokens = max(1, (role_max_tokens - input_tokens) // choices)
    most = Usage(
        input_tokens=input_tokens if endpoint in _HELD_BY_TOKENS else 0,
        output_tokens=output_tokens * choices,
        pages=pages,
        audio_seconds=audio_seconds,
        characters=characters,
        annotated_pages=annotated_pages,
        tool_calls=tool_calls,
    )
    return CallSize(endpoint, most, choices, output_tokens, terms)
