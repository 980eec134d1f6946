"""Alerts about budgets, keys and models: their kinds, contents and texts, and the retry delays."""

from enum import StrEnum
from typing import Any, NamedTuple

from sidecar.domain.amounts import format_amount
from sidecar.domain.clock import SECOND_US, to_datetime
from sidecar.domain.decisions import Meter
from sidecar.domain.retirement import Retirement
from sidecar.domain.share import WHOLE
from sidecar.domain.windows import FOREVER_US, Window

MAX_WAIT_US = 3600 * SECOND_US
"""The longest delay between two attempts to deliver one alert."""


class AlertKind(StrEnum):
    """The kinds of alerts."""

    __hash__ = str.__hash__  # faster than Enum's, for a frequent dictionary key

    THRESHOLD = "threshold"
    OVERRUN = "overrun"
    EXPIRED = "expired"
    USAGE_REFUSED = "usage_refused"
    BURN = "burn"
    KEY_IN_USE = "key_in_use"
    MODEL_RETIRES = "model_retires"
    MODEL_RETIRED = "model_retired"


class AlertGroup(NamedTuple):
    """What alerts have in common of which too many come at once."""

    kind: AlertKind
    rule: str


class Origin(NamedTuple):
    """The sidecar that raises alerts, and its share of every ceiling."""

    instance: str = ""
    """Its host and its ledger's file, which no other sidecar may write."""
    share: str = str(WHOLE)


UNNAMED = Origin()
"""The origin of alerts that no running sidecar raises."""


class Alert(NamedTuple):
    """One alert, in the order of the columns of the table `alerts`.

    Amounts are in the meter's unit: requests, tokens or nano-USD. `scope` is the limit's
    scope; the workspace for an overrun, an expiry or a refused usage, which have no rule;
    KEY#VERSION for a key in use after its grace period; the model's id for a retirement, whose
    window is that of its `Notice`.
    """

    alert_id: str
    kind: AlertKind
    raised_at_us: int
    rule: str
    scope: str
    meter: Meter
    window: Window
    window_start_us: int
    window_end_us: int
    percent: int
    """The threshold; for an overrun see `overrun_percents`; 0 for the other kinds."""
    ceiling: int | None
    spent: int
    """In the window; by the call, for an overrun or an expiry; as reported, for a refused usage;
    0 for a key or a model."""
    held: int
    usual: int | None = None
    """The mean spend of an hour, for a burn."""
    shadow: bool = False
    """Whether the limit is in shadow mode, and so refuses no call."""
    instance: str = ""
    share: str = ""
    """See Origin; "" in alerts of older versions."""
    undivided_ceiling: int | None = None
    """For a threshold: the policies' ceiling, of which `ceiling` is this sidecar's share."""
    replaced_by: str = ""
    """The model to use instead of one that retires, if the data files name it."""

    @property
    def group(self) -> AlertGroup:
        """Its kind and rule."""
        return AlertGroup(self.kind, self.rule)

    def document(self, others: int = 0) -> dict[str, Any]:
        """Return the alert as a JSON object; a summary stands for others of its group, too."""
        times = ("raised_at_us", "window_start_us", "window_end_us")
        return {
            "text": self.text(others),
            **{
                name.removesuffix("_us"): _iso(value) if name in times else value
                for name, value in self._asdict().items()
            },
            "others": others,
        }

    def text(self, others: int = 0) -> str:
        """Return a sentence for people: what happened, how often else, and at which sidecar."""
        more = f"; and {others:,} more such alerts: see `sidecar ledger alerts`" if others else ""
        return f"{self._what_and_where()}{more}"

    def _what_and_where(self) -> str:
        if not self.instance:
            return self._happened()
        if self.share == str(WHOLE):
            return f"{self._happened()}; sidecar {self.instance}"
        part = f"share {self.share}"
        if self.undivided_ceiling is not None:
            part += f" of {format_amount(self.meter, self.undivided_ceiling)}"
        return f"{self._happened()}; sidecar {self.instance}, {part}"

    def _happened(self) -> str:
        """Return what happened."""
        ceiling, spent, held, usual = (
            format_amount(self.meter, amount)
            for amount in (self.ceiling, self.spent, self.held, self.usual)
        )
        ends = self.window_end_us != FOREVER_US
        until = f"{to_datetime(self.window_end_us):%Y-%m-%d %H:%M} UTC" if ends else ""
        shadow = " (in shadow mode)" if self.shadow else ""
        match self.kind:
            case AlertKind.THRESHOLD:
                return (
                    f"{self.rule}{shadow} has reached {self.percent} % of {ceiling} for"
                    f" {self.scope}: {spent} spent, {held} held"
                    + (f", until {until}" if ends else ", never renewed")
                )
            case AlertKind.OVERRUN | AlertKind.USAGE_REFUSED | AlertKind.EXPIRED:
                return self._about_hold(spent, held)
            case AlertKind.BURN:
                return (
                    f"{self.rule}{shadow} spends unusually fast for {self.scope}: {spent} in the"
                    f" hour until {until}, {usual} in a usual hour"
                )
            case AlertKind.KEY_IN_USE:
                return (
                    f"{self.scope} is still used after its grace period, so it is not revoked:"
                    " find the app that does not use the new key, or `sidecar keys rotate --force`"
                )
            case AlertKind.MODEL_RETIRES | AlertKind.MODEL_RETIRED:
                return self._retirement()

    def _about_hold(self, spent: str, held: str) -> str:
        """Return how a hold ended, or was to end."""
        if self.kind is AlertKind.EXPIRED:
            return f"a hold of {self.scope} expired: a call held {held} and was not settled"
        if self.kind is AlertKind.USAGE_REFUSED:
            return (
                f"a Settle of a call of {self.scope} was refused: it reported {spent}, with a count"
                f" above its --max-settled-… bound, and {held} was held for it"
            )
        many = f", {self.percent // 100} times as much or more" if self.percent else ""
        return f"a call of {self.scope} used {spent}, and {held} was held for it{many}"

    def _retirement(self) -> str:
        """Return that a model which is still called retires, or was retired."""
        denied = self.kind is AlertKind.MODEL_RETIRED
        retires_us = self.window_start_us if denied else self.window_end_us
        retirement = Retirement(self.scope, retires_us, self.replaced_by)
        still = "it is still called, and denied" if denied else "it is still called"
        return f"{retirement.text(self.window_start_us)}; {still}"


def _iso(at_us: int) -> str | None:
    """Write a time as in ISO 8601; None for the end of what has none."""
    if at_us == FOREVER_US:
        return None
    return to_datetime(at_us).isoformat().replace("+00:00", "Z")


class Delivery(NamedTuple):
    """An alert that is due for a channel."""

    alert: Alert
    attempts: int
    """How many attempts have failed."""


class Claim(StrEnum):
    """What a sidecar may do about the delivery of an alert, which others may have raised, too."""

    OWN = "own"
    """It delivers the alert."""
    TAKEN = "taken"
    """Another may be delivering it, or who does cannot be asked: ask again later."""
    DELIVERED = "delivered"
    """It has been delivered."""


class DeliveryOutcome(NamedTuple):
    """The result of an attempt to deliver; an empty `error` is success.

    Without a claim of its own, a sidecar has made no attempt.
    """

    alert_id: str
    error: str
    next_at_us: int
    """When to try again, if it is not delivered."""
    claim: Claim = Claim.OWN

    @property
    def is_delivered(self) -> bool:
        """Whether nothing is left to do."""
        return self.claim is Claim.DELIVERED or (self.claim is Claim.OWN and not self.error)


def overrun_percents(spent: int, held: int, factor: int) -> tuple[int, ...]:
    """Return the parts of a hold that a usage has reached: the factor, and each ten times more."""
    reached = []
    while factor * max(held, 1) <= spent:
        reached.append(100 * factor)
        factor *= 10
    return tuple(reached)


def wait_us(attempts: int) -> int:
    """Return the delay after this many failed attempts: it doubles with each, up to an hour."""
    return min(MAX_WAIT_US, SECOND_US << min(attempts, 20))
