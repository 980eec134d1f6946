"""What is asked of the ledger, and what it answers."""

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import NamedTuple

from sidecar.domain.prices import Tariff, Terms
from sidecar.domain.share import WHOLE, Share
from sidecar.domain.usage import Endpoint, Usage
from sidecar.domain.windows import Window


class Effect(StrEnum):
    """The answer to "may this call go out?"."""

    ALLOW = "allow"
    DENY = "deny"


class Meter(StrEnum):
    """What a limit counts. Cost is in nano-USD."""

    __hash__ = str.__hash__  # an Enum's own is slower, and this is looked up often

    REQUESTS = "requests"
    TOKENS = "tokens"
    COST = "cost"


class HoldState(StrEnum):
    """How a hold stands. Only an open or expired one can still be settled."""

    OPEN = "open"
    SETTLED = "settled"
    RELEASED = "released"
    EXPIRED = "expired"


@dataclass(frozen=True, slots=True)
class Reason:
    """Why a call was denied. `rule` is empty for the sidecar's own reasons."""

    code: str
    message: str
    rule: str
    http_status: int


class Budget(NamedTuple):
    """One limit as it stands for one scope. `ceiling` None is unlimited.

    Amounts are requests, tokens or nano-USD, as the meter says. Both window
    bounds are None for a concurrent limit.
    """

    rule: str
    meter: Meter
    scope: str
    window_start_us: int | None
    window_end_us: int | None
    ceiling: int | None
    spent: int
    held: int

    @property
    def remaining(self) -> int | None:
        """What may still be held; None is unlimited, and never below 0."""
        return None if self.ceiling is None else max(0, self.ceiling - self.spent - self.held)


class Limit(NamedTuple):
    """A ceiling on what one meter counts, for one scope in one kind of window."""

    rule: str
    meter: Meter
    window: Window
    scope: str
    ceiling: int | None
    undivided_ceiling: int | None = None
    """What the ceiling is a share of; None where that is not known."""


class ReservationLine(NamedTuple):
    """What one call wants of one limit, at most.

    A demand in shadow mode is counted, but never refuses the call.
    """

    limit: Limit
    amount: int
    charge_on_expiry: bool
    shadow: bool
    refusal: Callable[[], Reason]
    """Writes the reason; called only when the amount does not fit."""
    alert_at_percent: tuple[int, ...] = ()
    """At which parts of the ceiling somebody is told, lowest first."""


@dataclass(frozen=True, slots=True)
class CallFacts:
    """The facts of one call that go on record."""

    request_id: str
    fingerprint: bytes
    principal_id: str
    role: str
    workspace: str
    key_id: str
    model_requested: str
    model_id: str
    endpoint: Endpoint
    max_output_tokens: int
    most: Usage
    terms: Terms
    cost_nano_usd: int
    tariff: Tariff | None
    hold_ttl_us: int


@dataclass(frozen=True, slots=True)
class ReservationRequest:
    """A call after the rules have spoken, for the ledger to hold or to refuse.

    `reasons` are the rules' own: with any, nothing is held. `shadow_reasons`
    are those of rules in shadow mode, for the record only.
    """

    call: CallFacts
    decision_id: str
    hold_id: str
    at_us: int
    policy_digest: str
    policy_generation: int
    reasons: tuple[Reason, ...]
    shadow_reasons: tuple[Reason, ...]
    lines: tuple[ReservationLine, ...]
    share: Share = WHOLE
    """What every ceiling of the demands is of the policies' own, for people."""


@dataclass(frozen=True, slots=True)
class Decision:
    """The answer to one call, the same each time it is asked for.

    Whether it is a repeat, and how its hold stands, belong to the moment of an answer:
    they are not recorded, and are no part of what two answers have to have in common.
    """

    request_id: str
    decision_id: str
    effect: Effect
    reasons: tuple[Reason, ...]
    shadow_reasons: tuple[Reason, ...]
    budgets: tuple[Budget, ...]
    retry_after_us: int
    model_id: str
    max_output_tokens: int
    policy_digest: str
    policy_generation: int
    hold_id: str = ""
    hold_expires_at_us: int = 0
    held_cost_nano_usd: int = 0
    replayed: bool = field(default=False, compare=False)
    """Whether its request_id was decided before."""
    hold_state: HoldState | None = field(default=None, compare=False)
    """The state of its hold when it is answered; None without a hold."""


@dataclass(frozen=True, slots=True)
class Hold:
    """A reservation as the ledger has it."""

    hold_id: str
    state: HoldState
    principal_id: str
    opened_at_us: int
    model_requested: str
    model_id: str
    endpoint: Endpoint
    most: Usage
    terms: Terms
    cost_nano_usd: int
    tariff: Tariff | None


class OpenHold(NamedTuple):
    """A hold that waits for its Settle, for people who look after the ledger."""

    place: tuple[int, int]
    """Where it stands in their order; first when it expires, in microseconds."""
    hold_id: str
    principal_id: str
    workspace: str
    model_id: str
    tokens: int
    cost_nano_usd: int

    @property
    def expires_at_us(self) -> int:
        """When it is charged at its worst case, if nobody settles it."""
        return self.place[0]


@dataclass(frozen=True, slots=True)
class Settlement:
    """What a call really used and cost, and how it ended."""

    used: Usage
    cost_nano_usd: int
    outcome: str
    response_model: str
    at_us: int
    unrecognized_usage: bool = False
    """A usage was reported, and nothing in it could be counted."""


@dataclass(frozen=True, slots=True)
class Charge:
    """What a closed hold has been charged."""

    cost_nano_usd: int
    tokens: int
    overrun: bool
    budgets: tuple[Budget, ...]
    unrecognized_usage: bool = False
