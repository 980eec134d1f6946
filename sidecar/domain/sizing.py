"""How large a call may become: the worst case that is held."""

from dataclasses import dataclass

from sidecar.domain.prices import Tariff, Terms
from sidecar.domain.usage import BY_TOKENS, WITH_OUTPUT, Endpoint, Usage


@dataclass(frozen=True, slots=True)
class Size:
    """The most a call can use. `max_output_tokens` is for each choice."""

    endpoint: Endpoint
    most: Usage
    choices: int
    max_output_tokens: int
    terms: Terms

    def cost_nano_usd(self, tariff: Tariff | None) -> int:
        """Return the most it can cost; 0 without a tariff. Raises UnpricedError."""
        return 0 if tariff is None else tariff.bound_nano_usd(self.endpoint, self.most, self.terms)


def worst_case(
    endpoint: Endpoint,
    *,
    input_tokens: int,
    asked_output_tokens: int,
    choices: int,
    pages: int,
    audio_seconds: int,
    terms: Terms,
    role_maximum: int | None,
) -> Size | None:
    """Return the most that the call can use, or None when nothing bounds its output.

    `asked_output_tokens` 0 means that the app left it out: the role's maximum
    per request then fills it in with what the input leaves, but at least 1.
    """
    output_tokens = 0
    if endpoint in WITH_OUTPUT:
        if asked_output_tokens:
            output_tokens = asked_output_tokens
        elif role_maximum is None:
            return None
        else:
            output_tokens = max(1, (role_maximum - input_tokens) // choices)
    most = Usage(
        input_tokens=input_tokens if endpoint in BY_TOKENS else 0,
        output_tokens=output_tokens * choices,
        pages=pages,
        audio_seconds=audio_seconds,
    )
    return Size(endpoint, most, choices, output_tokens, terms)
