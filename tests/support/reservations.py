"""Reservation requests and settlements for tests of the ledger, with defaults."""

from dataclasses import replace
from functools import partial
from typing import Any

from sidecar.domain.decisions import (
    CallFacts,
    Limit,
    Meter,
    Reason,
    ReservationLine,
    ReservationRequest,
    Settlement,
)
from sidecar.domain.prices import Multipliers, Price, Tariff, Terms
from sidecar.domain.retirement import Retirement
from sidecar.domain.usage import Endpoint, Usage
from sidecar.domain.windows import Window

TARIFF = Tariff(
    Price("small-1@2020-01-01", 0, 1_000_000_000, 1_000_000_000), Multipliers(cached_input=100)
)
"""A token costs 1000 nano-USD."""


def limit(
    ceiling: int | None,
    meter: Meter = Meter.TOKENS,
    window: Window = Window.DAY,
    scope: str = "lab",
    rule: str = "",
) -> Limit:
    """Return a limit; by default its rule is named after its meter and window."""
    return Limit(rule or f"{meter.value}-{window.value}", meter, window, scope, ceiling)


def reservation(
    at_us: int,
    *limits: Limit,
    tokens: int = 100,
    request_id: str = "",
    fingerprint: bytes = b"",
    ttl_us: int = 600_000_000,
    charge_on_expiry: bool = True,
    shadow: bool = False,
    alert_at: tuple[int, ...] = (),
    retirement: Retirement | None = None,
    **changes: Any,
) -> ReservationRequest:
    """Return a reservation of this many tokens on the limits; `changes` are fields of the call."""
    reasons = changes.pop("reasons", ())
    cost = tokens * 1000
    amounts = {Meter.REQUESTS: 1, Meter.TOKENS: tokens, Meter.COST: cost}
    call = CallFacts(
        request_id=request_id,
        fingerprint=fingerprint or request_id.encode(),
        principal_id="ada",
        role="tester",
        workspace="lab",
        key_id="",
        model_requested="small-latest",
        model_id="small-1",
        endpoint=Endpoint.CHAT,
        max_output_tokens=tokens,
        most=Usage(0, tokens),
        terms=Terms(),
        cost_nano_usd=cost,
        tariff=TARIFF,
        hold_ttl_us=ttl_us,
    )
    lines = tuple(
        ReservationLine(
            one,
            amounts[one.meter],
            charge_on_expiry,
            shadow,
            partial(Reason, "TOO_MUCH", "too much", one.rule, 429),
            alert_at,
        )
        for one in limits
    )
    return ReservationRequest(
        call=replace(call, **changes),
        at_us=at_us,
        policy_digest="digest",
        policy_generation=1,
        reasons=reasons,
        shadow_reasons=(),
        lines=lines,
        retirement=retirement,
    )


def settlement(at_us: int, tokens: int, cost_nano_usd: int | None = None) -> Settlement:
    """Return a settlement of this many tokens, at their price or at another cost."""
    cost = tokens * 1000 if cost_nano_usd is None else cost_nano_usd
    return Settlement(Usage(0, tokens), cost, "ok", "small-1", at_us)
