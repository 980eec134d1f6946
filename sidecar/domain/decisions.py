"""The ledger's types: reservation requests, decisions, holds, settlements and budgets."""

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import NamedTuple

from sidecar.domain.prices import Tariff, Terms
from sidecar.domain.retirement import Retirement
from sidecar.domain.share import WHOLE, Share
from sidecar.domain.usage import Endpoint, Usage
from sidecar.domain.windows import DEFAULT_ANCHOR, Anchor, Window

LARGER_THAN_BUDGET = "LARGER_THAN_BUDGET"
"""The code of the first reason for a call that is larger than the whole budget of a limit."""


class Effect(StrEnum):
    """The answer to "may this call be made?"."""

    ALLOW = "allow"
    DENY = "deny"


class Meter(StrEnum):
    """What a limit counts. Cost is in nano-USD."""

    __hash__ = str.__hash__  # faster than Enum's, for a frequent dictionary key

    REQUESTS = "requests"
    TOKENS = "tokens"
    COST = "cost"


class HoldState(StrEnum):
    """The states of a hold. Only an open or expired one can still be settled."""

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


class CallWarning(NamedTuple):
    """Something to act on, which does not decide the call."""

    code: str
    message: str


class Budget(NamedTuple):
    """The balance of one limit for one scope. `ceiling` None is unlimited.

    Amounts are in the meter's unit: requests, tokens or nano-USD. A total begins at 0 and
    has no end; both bounds of the window are None for a concurrent limit.
    """

    rule: str
    meter: Meter
    scope: str
    window_start_us: int | None
    window_end_us: int | None
    ceiling: int | None
    spent: int
    held: int
    as_of_us: int | None = None
    """In a fleet, when the figures of other ledgers are of. It is not recorded."""

    @property
    def remaining(self) -> int | None:
        """What may still be held, at least 0; None is unlimited."""
        return None if self.ceiling is None else max(0, self.ceiling - self.spent - self.held)


class Limit(NamedTuple):
    """A ceiling on one meter, for one scope, in one kind of window."""

    rule: str
    meter: Meter
    window: Window
    scope: str
    ceiling: int | None
    undivided_ceiling: int | None = None
    """The policies' ceiling, of which `ceiling` is a share; None where it is unknown."""
    anchor: Anchor = DEFAULT_ANCHOR


class ReservationLine(NamedTuple):
    """The most that one call may use of one limit.

    A line in shadow mode is counted, but never refuses the call.
    """

    limit: Limit
    amount: int
    charge_on_expiry: bool
    shadow: bool
    refusal: Callable[[], Reason]
    """Makes the reason; called only when the amount does not fit."""
    alert_at_percent: tuple[int, ...] = ()
    """The percentages of the ceiling that raise alerts, ascending."""


@dataclass(frozen=True, slots=True)
class CallFacts:
    """The facts of one call that the ledger records."""

    request_id: str
    fingerprint: bytes
    """Empty without a request_id: nothing is compared with it."""
    principal_id: str
    role: str
    workspace: str
    key_id: str
    model_requested: str
    model_id: str
    endpoint: Endpoint
    max_output_tokens: int
    most: Usage
    """The worst case, whose cost is `cost_nano_usd`."""
    terms: Terms
    cost_nano_usd: int
    tariff: Tariff | None
    hold_ttl_us: int
    owner: str = ""
    """The principal, if the caller has proven that it is this one."""


@dataclass(frozen=True, slots=True)
class ReservationRequest:
    """A call with the rules' result, for the ledger to hold or refuse.

    `reasons` are the rules' own: with any, nothing is held. `shadow_reasons`
    are those of rules in shadow mode, which are only recorded.
    """

    call: CallFacts
    at_us: int
    policy_digest: str
    policy_generation: int
    reasons: tuple[Reason, ...]
    shadow_reasons: tuple[Reason, ...]
    lines: tuple[ReservationLine, ...]
    share: Share = WHOLE
    """This sidecar's share of the policies' ceilings, for texts."""
    retirement: Retirement | None = None
    """The model's, if the data files have a day for it."""
    clock_behind_us: int = 0
    """How far the system's clock is behind `at_us`: a window ends that much later by it."""


@dataclass(frozen=True, slots=True)
class Decision:
    """The decision on one call, the same for each replay.

    `replayed`, `hold_state` and `warnings` describe one response: they are neither recorded
    nor compared.
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
    """The state of its hold at the time of the response; None without a hold."""
    warnings: tuple[CallWarning, ...] = field(default=(), compare=False)
    """At the time of the response."""


@dataclass(frozen=True, slots=True)
class Hold:
    """The hold of a call, with all that its settlement needs."""

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


class DenialCounts(NamedTuple):
    """How many denials the ledger keeps, and how many made room for newer ones."""

    kept: int
    dropped: int


class OpenHold(NamedTuple):
    """A hold that is not closed, for operators."""

    place: tuple[int, int]
    """The sort key of pages: when it expires, in microseconds, and its row id."""
    hold_id: str
    principal_id: str
    workspace: str
    model_id: str
    tokens: int
    cost_nano_usd: int

    @property
    def expires_at_us(self) -> int:
        """When it expires, unless it is settled or released before."""
        return self.place[0]


@dataclass(frozen=True, slots=True)
class Settlement:
    """The real usage and cost of a call, and how it ended."""

    used: Usage
    cost_nano_usd: int
    outcome: str
    response_model: str
    at_us: int
    unrecognized_usage: bool = False
    """Whether a usage was reported in which no count is known."""
    refused: bool = False
    """Whether it is too large to be charged: it raises an alert, and the hold stays as it is."""


@dataclass(frozen=True, slots=True)
class Charge:
    """What a closed hold was charged."""

    cost_nano_usd: int
    tokens: int
    overrun: bool
    budgets: tuple[Budget, ...]
    unrecognized_usage: bool = False
