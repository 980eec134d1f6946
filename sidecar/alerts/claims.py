"""Claims: which sidecar delivers an alert that others may have raised, too."""

from collections.abc import Sequence
from typing import Protocol

from sidecar.domain.alerts import Alert, Claim


class Claims(Protocol):
    """Claims to deliver alerts. A claim that is not settled lapses. No method raises."""

    async def claim(self, channel: str, alerts: Sequence[Alert]) -> Sequence[Claim]:
        """Claim alerts for a channel, before they are delivered; return a result for each.

        It is called once in a while without any.
        """

    async def settle(
        self, channel: str, delivered: Sequence[Alert], others: Sequence[Alert]
    ) -> None:
        """Let nobody deliver the first again, and let any sidecar deliver the others."""


class NoClaims(Claims):
    """A sidecar alone: all that it raises is its own."""

    async def claim(self, channel: str, alerts: Sequence[Alert]) -> Sequence[Claim]:
        """See Claims.claim."""
        del channel
        return [Claim.OWN] * len(alerts)

    async def settle(
        self, channel: str, delivered: Sequence[Alert], others: Sequence[Alert]
    ) -> None:
        """See Claims.settle."""
