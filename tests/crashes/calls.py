"""The calls of an app, from Authorize to Settle, with their responses."""

from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from mistral_spend.v1 import authorization_pb2 as pb
from support.policies import limit, minimal
from support.sidecar_process import chat, tester

TOKENS_HELD = 200
NANO_USD_PER_TOKEN = 1000

CALLS_OF_A_PRINCIPAL = 100
"""The calls of one principal; then a new one follows, so that ceilings are reached repeatedly."""

DAILY_TOKENS = 12_000
REQUESTS_PER_MINUTE = 70
OPEN_HOLDS = 60


def policies(directory: Path) -> Path:
    """Write policies with a limit of each window and each meter; three of them are often reached."""
    return minimal(
        directory,
        daily_tokens=limit(str(DAILY_TOKENS), meter="tokens", per="principal.id"),
        rate=limit(str(REQUESTS_PER_MINUTE), window="minute", per="principal.id"),
        open_holds=limit(str(OPEN_HOLDS), window="concurrent"),
        monthly_cost=limit("1000000000", meter="cost", window="month"),
        hourly_requests=limit("unlimited", window="hour", extra="// on_expiry: release\n"),
    )


class Ending(Enum):
    """How the app ends its hold."""

    SETTLE = "settle"
    SETTLE_LATE = "settle when the hold may have expired"
    RELEASE = "release"
    FORGET = "forget"


_ENDINGS = (
    *[Ending.SETTLE] * 6,
    *[Ending.RELEASE] * 2,
    Ending.SETTLE_LATE,
    Ending.FORGET,
)


@dataclass
class Call:
    """One call. A request without a response is repeated with the same ids and content."""

    request: pb.AuthorizeRequest
    ending: Ending
    usage: pb.Usage
    streamed: bool
    copies: int
    """The number of identical requests that are sent at the same time."""
    answer: pb.AuthorizeResponse | None = None
    charged: tuple[int, int] | None = None
    """Nano-USD and tokens, from the response to Settle or Release."""

    @property
    def allowed(self) -> bool:
        """Whether the response was Allow."""
        return self.answer is not None and self.answer.effect == pb.EFFECT_ALLOW

    @property
    def finished(self) -> bool:
        """Whether all its requests have a response."""
        if self.answer is None:
            return False
        return not self.allowed or self.ending is Ending.FORGET or self.charged is not None

    @property
    def expected_charge(self) -> tuple[int, int]:
        """The expected charge, in nano-USD and tokens."""
        used = self.usage.input_tokens + self.usage.output_tokens
        tokens = 0 if self.ending is Ending.RELEASE else used
        return tokens * NANO_USD_PER_TOKEN, tokens

    @property
    def tokens_taken(self) -> int:
        """Its amount on a budget of tokens, by the responses: the hold, then the usage."""
        if not self.allowed:
            return 0
        return TOKENS_HELD if self.charged is None else self.charged[1]


def make(number: int) -> Call:
    """Return the call with this number; numbers give a mix of principals, endings and RPCs."""
    ending = _ENDINGS[number * 7 % len(_ENDINGS)]
    short_lived = ending in (Ending.SETTLE_LATE, Ending.FORGET)
    return Call(
        request=chat(
            tester(id=f"p{number // CALLS_OF_A_PRINCIPAL}"),
            model="small-1",
            request_id=f"r{number}",
            hold_ttl_seconds=1 if short_lived else 3600,
        ),
        ending=ending,
        usage=pb.Usage(input_tokens=number % 101, output_tokens=number * 13 % 101),
        streamed=number % 3 == 0,
        copies=2 if number % 8 == 0 else 1,
    )
