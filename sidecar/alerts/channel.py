"""What a channel is, and the one that is always there: the log."""

import logging
from typing import Protocol

from sidecar.domain.alerts import Alert

log = logging.getLogger(__name__)


class NotDeliveredError(Exception):
    """The receiver did not take an alert. The text says why, and has no secret in it."""


class Channel(Protocol):
    """A way to tell somebody."""

    @property
    def name(self) -> str:
        """How the ledger knows it."""

    async def deliver(self, alert: Alert) -> None:
        """Tell of an alert. Raises NotDeliveredError.

        It may be cancelled, and then leaves nothing running.
        """

    async def close(self) -> None:
        """Let go of what is open."""


class LogChannel:
    """A line in the log."""

    name = "log"

    async def deliver(self, alert: Alert) -> None:
        """Write one line, whatever is in the names."""
        text = "".join(c if c.isprintable() else repr(c)[1:-1] for c in alert.text())
        log.warning("alert %s %s: %s", alert.kind.value, alert.alert_id, text)

    async def close(self) -> None:
        """Nothing is open."""
