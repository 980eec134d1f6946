"""A sidecar that is in no fleet: its budgets are its own."""

from collections.abc import Sequence
from typing import Any
from zoneinfo import ZoneInfo

from sidecar.alerts.claims import Claims, NoClaims
from sidecar.domain.alerts import Origin
from sidecar.domain.clock import Clock
from sidecar.domain.sharing import FleetState
from sidecar.ledger.sqlite import SqliteLedger
from sidecar.runtime.settings import Settings


class Alone:
    """A sidecar with budgets of its own."""

    def open_ledger(
        self, settings: Settings, zone: ZoneInfo, channels: Sequence[str], origin: Origin
    ) -> SqliteLedger:
        """Open the ledger, for alerts to these channels. Raises LedgerRefusedError."""
        return SqliteLedger(settings.ledger, zone, **ledger_options(settings, channels, origin))

    async def start(self, clock: Clock) -> None:
        """Begin, once the ledger is open; the clock is that of decisions."""

    def problem(self) -> str:
        """Return why no call is admitted; empty where some are."""
        return ""

    def fleet(self) -> FleetState | None:
        """Return what is known of the fleet; None without one."""
        return None

    def claims(self) -> Claims:
        """Return who delivers alerts: this sidecar."""
        return NoClaims()

    async def leave(self) -> None:
        """End, before the ledger is closed."""


def ledger_options(settings: Settings, channels: Sequence[str], origin: Origin) -> dict[str, Any]:
    """Return the options of any ledger."""
    return {
        "channels": channels,
        "origin": origin,
        "overrun_alert_factor": settings.usage.overrun_alert_factor,
        "max_denials": settings.max_denials,
    }
