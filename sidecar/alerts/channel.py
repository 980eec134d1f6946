"""The interface of an alert channel, and the log channel, which is always on."""

import logging
from typing import Protocol

from sidecar.domain.alerts import Alert

log = logging.getLogger(__name__)


class NotDeliveredError(Exception):
    """The receiver did not accept an alert. The text says why, without secrets."""


class Channel(Protocol):
    """A way to deliver alerts."""

    @property
    def name(self) -> str:
        """Its name in the ledger."""

    async def deliver(self, alert: Alert, others: int = 0) -> None:
        """Deliver an alert, as a summary with this many others of its group.

        Raises NotDeliveredError. Cancelling it leaves nothing running.
        """

    async def close(self) -> None:
        """Close connections."""


class LogChannel:
    """Writes each alert as a line of the log."""

    name = "log"

    async def deliver(self, alert: Alert, others: int = 0) -> None:
        """Write one line; control characters in names are escaped."""
        text = "".join(c if c.isprintable() else repr(c)[1:-1] for c in alert.text(others))
        log.warning("alert %s %s: %s", alert.kind.value, alert.alert_id, text)

    async def close(self) -> None:
        """Nothing is open."""
