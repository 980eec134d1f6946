"""What people are told about budgets: a threshold, an overrun, an expiry, a burn, a key."""

from enum import StrEnum
from typing import Any, NamedTuple

from sidecar.domain.amounts import format_amount
from sidecar.domain.clock import SECOND_US, to_datetime
from sidecar.domain.decisions import Meter
from sidecar.domain.share import WHOLE
from sidecar.domain.windows import Window

MAX_WAIT_US = 3600 * SECOND_US
"""The longest pause between two attempts to deliver one alert."""


class AlertKind(StrEnum):
    """What happened."""

    __hash__ = str.__hash__  # an Enum's own is slower, and this is looked up often

    THRESHOLD = "threshold"
    OVERRUN = "overrun"
    EXPIRED = "expired"
    BURN = "burn"
    KEY_IN_USE = "key_in_use"


class Origin(NamedTuple):
    """Which sidecar raises alerts, and which part of every ceiling it has."""

    instance: str = ""
    """The name of its host and its ledger's file, which no other sidecar may write."""
    share: str = str(WHOLE)


UNNAMED = Origin()
"""Of what raises alerts in no running sidecar."""


class Alert(NamedTuple):
    """One thing to tell, in the order of the columns of the table `alerts`.

    Amounts are requests, tokens or nano-USD, as the meter says. `scope` is what the limit
    counts for; for an overrun or an expiry, which have no rule, it is the workspace, and for
    a key that is in use after its grace, it is KEY#VERSION.
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
    """The threshold; 0 for the other kinds."""
    ceiling: int | None
    spent: int
    """In the window; of the call, for an overrun or an expiry; 0 for a key."""
    held: int
    usual: int | None = None
    """What an hour usually spends, for a burn."""
    shadow: bool = False
    """Whether the limit is in shadow mode, and so refuses nobody."""
    instance: str = ""
    share: str = ""
    """See Origin; "" in alerts of before there was one."""
    undivided_ceiling: int | None = None
    """Of all shares together, for a threshold: `ceiling` is this sidecar's share of it."""

    def document(self) -> dict[str, Any]:
        """Write it down for programs."""
        times = ("raised_at_us", "window_start_us", "window_end_us")
        return {
            "text": self.text(),
            **{
                name.removesuffix("_us") if name in times else name: (
                    to_datetime(value).isoformat().replace("+00:00", "Z")
                    if name in times
                    else value
                )
                for name, value in self._asdict().items()
            },
        }

    def text(self) -> str:
        """Write it down for people: what happened, and at which sidecar."""
        if not self.instance:
            return self._happened()
        if self.share == str(WHOLE):
            return f"{self._happened()}; sidecar {self.instance}"
        part = f"share {self.share}"
        if self.undivided_ceiling is not None:
            part += f" of {format_amount(self.meter, self.undivided_ceiling)}"
        return f"{self._happened()}; sidecar {self.instance}, {part}"

    def _happened(self) -> str:
        """Write down in a sentence what happened."""
        ceiling, spent, held, usual = (
            format_amount(self.meter, amount)
            for amount in (self.ceiling, self.spent, self.held, self.usual)
        )
        until = to_datetime(self.window_end_us).strftime("%Y-%m-%d %H:%M UTC")
        shadow = " (in shadow mode)" if self.shadow else ""
        match self.kind:
            case AlertKind.THRESHOLD:
                return (
                    f"{self.rule}{shadow} has reached {self.percent} % of {ceiling} for"
                    f" {self.scope}: {spent} spent, {held} held, until {until}"
                )
            case AlertKind.OVERRUN:
                return f"a call of {self.scope} used {spent}, and {held} was held for it"
            case AlertKind.EXPIRED:
                return f"a hold of {self.scope} expired: nobody settled the {held} held by a call"
            case AlertKind.BURN:
                return (
                    f"{self.rule}{shadow} spends unusually fast for {self.scope}: {spent} in the"
                    f" hour until {until}, {usual} in a usual one"
                )
            case AlertKind.KEY_IN_USE:
                return (
                    f"{self.scope} is in use after its grace, and so is not revoked: find out who"
                    " does not take the new key, or `sidecar keys rotate --force`"
                )


class Delivery(NamedTuple):
    """An alert that somebody is still to be told of."""

    alert: Alert
    attempts: int
    """How often that has failed."""


class DeliveryOutcome(NamedTuple):
    """How an attempt to deliver ended. No error is success."""

    alert_id: str
    error: str
    next_at_us: int
    """When to try again, if it failed."""


def wait_us(attempts: int) -> int:
    """Return how long to wait after so many failed attempts: twice as long after each."""
    return min(MAX_WAIT_US, SECOND_US << min(attempts, 20))
