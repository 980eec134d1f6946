"""The calls of apps: a budget of money, a rate and a number at once, with all responses."""

from dataclasses import dataclass, field
from pathlib import Path
from random import Random

from mistral_spend.v1 import authorization_pb2 as pb
from support.policies import limit, minimal
from support.sidecar_process import chat, tester

NANO_USD_PER_TOKEN = 1000
BUDGET, RATE, AT_ONCE = "budget", "rate", "at-once"
"""Rules, each of which denies calls of the principals that begin with its name."""
CALLS_A_MINUTE, OPEN_HOLDS = 90, 8
OVERRUN_PART = 0.05
"""So many calls use more than they hold."""


def policies(folder: Path, ceiling_usd: float) -> Path:
    """Write the policies of the fleet."""

    def of(rule: str, body: object, **names: str) -> str:
        only = f'principal.id.startsWith("{rule}") ? {body} : unlimited'
        return limit(only, per="principal.id", **names)

    return minimal(
        folder,
        budget=of(BUDGET, float(ceiling_usd), meter="cost", window="total"),
        rate=of(RATE, CALLS_A_MINUTE, window="minute"),
        at_once=of(AT_ONCE, OPEN_HOLDS, window="concurrent"),
    )


@dataclass
class Call:
    """A call, with what its app was answered. Times are seconds of the steady clock."""

    request: pb.AuthorizeRequest
    used_tokens: int
    copies: int
    """So many requests are sent at the same time."""
    hold_seconds: float
    sent: float = 0.0
    sent_at: float = 0.0
    """The last time, by the clock of the day."""
    answered: float = 0.0
    ended: float = float("inf")
    """When its Settle was sent, or its sidecar's ledger was lost."""
    answer: pb.AuthorizeResponse | None = None
    charged_nano_usd: int | None = None
    unreachable: int = 0
    """Answers that the fleet could not be asked."""
    unanswered: int = 0

    @property
    def scope(self) -> str:
        """Who makes it, which is what all limits count by."""
        return self.request.principal.id

    @property
    def allowed(self) -> bool:
        """Whether the answer was Allow."""
        return self.answer is not None and self.answer.effect == pb.EFFECT_ALLOW

    @property
    def denied(self) -> bool:
        """Whether the answer was Deny."""
        return self.answer is not None and self.answer.effect == pb.EFFECT_DENY

    @property
    def held_nano_usd(self) -> int:
        """Its worst case."""
        estimate = self.request.estimate
        return (estimate.input_tokens + estimate.max_output_tokens) * NANO_USD_PER_TOKEN

    @property
    def used_nano_usd(self) -> int:
        """What it really costs, if it is allowed; also where its sidecar never hears of it."""
        return self.used_tokens * NANO_USD_PER_TOKEN if self.allowed else 0

    @property
    def overrun_nano_usd(self) -> int:
        """What of that is above its worst case."""
        return max(0, self.used_nano_usd - self.held_nano_usd)


@dataclass
class CallMaker:
    """Makes calls, most of them on the budget of now."""

    random: Random
    budgets: int = 1
    """How many there have been; the last is the one of now."""
    made: list[Call] = field(default_factory=list)

    @property
    def budget(self) -> str:
        """The scope of the budget of now."""
        return f"{BUDGET}-{self.budgets}"

    def make(self) -> Call:
        """Return a new call."""
        of = self.random.choices((self.budget, RATE, AT_ONCE), (6, 1, 3))[0]
        given, output = self.random.randrange(100, 3000), self.random.randrange(100, 7000)
        overruns = self.random.random() < OVERRUN_PART
        used = given + output + 500 if overruns else self.random.randrange(given, given + output)
        call = Call(
            chat(
                tester(id=of),
                model="small-1",
                request_id=f"r{len(self.made)}",
                estimate={"input_tokens": given, "max_output_tokens": output},
                hold_ttl_seconds=40 if of == AT_ONCE else 3600,
            ),
            used_tokens=used,
            copies=2 if self.random.random() < 0.1 else 1,
            hold_seconds=self.random.uniform(0, 0.3),
        )
        self.made.append(call)
        return call
