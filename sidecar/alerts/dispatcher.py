"""Delivers what the ledger owes to each channel, until it is delivered."""

import asyncio
import logging
from collections.abc import Sequence

from sidecar.alerts.channel import Channel, NotDeliveredError
from sidecar.alerts.counts import AlertCounts
from sidecar.domain.alerts import Alert, Delivery, DeliveryOutcome, wait_us
from sidecar.domain.clock import Clock
from sidecar.ledger.protocol import AlertOutbox, LedgerUnavailableError

log = logging.getLogger(__name__)

CHECK_EVERY_SECONDS = 1.0
AT_ONCE = 8
"""Attempts on one channel at a time."""


class Dispatcher:
    """Works beside the decisions, and never makes them wait.

    Each channel goes at its own pace. While one fails, it costs a transaction a second at
    most, however much it is owed.
    """

    def __init__(
        self, outbox: AlertOutbox, channels: Sequence[Channel], clock: Clock, counts: AlertCounts
    ) -> None:
        """Deliver from the outbox to the channels. The clock is the wall's, and may jump."""
        self._outbox = outbox
        self._clock = clock
        self._counts = counts
        self._wakers = [(channel, asyncio.Event()) for channel in channels]
        self._failing: set[str] = set()
        outbox.on_raised(self._raised)

    async def run(self) -> None:
        """Deliver until cancelled; attempts under way are then given up, and owed still."""
        try:
            async with asyncio.TaskGroup() as group:
                for channel, awake in self._wakers:
                    group.create_task(self._serve(channel, awake))
        finally:
            for channel, _ in self._wakers:
                await channel.close()

    def _raised(self, alerts: Sequence[Alert]) -> None:
        self._counts.raised.update(alert.kind.value for alert in alerts)
        for _, awake in self._wakers:
            awake.set()

    async def _serve(self, channel: Channel, awake: asyncio.Event) -> None:
        while True:
            awake.clear()
            try:
                more = await self._deliver(channel)
            except LedgerUnavailableError as error:
                log.warning("alerts by %s wait for the ledger: %s", channel.name, error)
                more = False
            if channel.name in self._failing:
                await asyncio.sleep(CHECK_EVERY_SECONDS)
            elif not more:
                await _either(awake, CHECK_EVERY_SECONDS)

    async def _deliver(self, channel: Channel) -> bool:
        """Try what is due, a few at once; return whether there was anything."""
        due = self._outbox.due(channel.name, self._clock(), AT_ONCE)
        if due:
            outcomes = await asyncio.gather(*(self._attempt(channel, one) for one in due))
            self._note(channel, outcomes)
            await self._outbox.record(channel.name, outcomes, self._clock())
        return bool(due)

    async def _attempt(self, channel: Channel, delivery: Delivery) -> DeliveryOutcome:
        alert, error = delivery.alert, ""
        try:
            await channel.deliver(alert)
        except NotDeliveredError as failure:
            error = str(failure)
        except Exception as failure:  # a fault of ours; its text may have anything in it
            error = f"failed: {type(failure).__name__}"
        counted = self._counts.failed if error else self._counts.delivered
        counted[alert.kind.value, channel.name] += 1
        next_at_us = self._clock() + wait_us(delivery.attempts + 1)
        return DeliveryOutcome(alert.alert_id, error, next_at_us)

    def _note(self, channel: Channel, outcomes: Sequence[DeliveryOutcome]) -> None:
        """Log when a channel begins to fail, and when it works again."""
        errors = [outcome.error for outcome in outcomes if outcome.error]
        if errors and channel.name not in self._failing:
            self._failing.add(channel.name)
            log.warning("alerts by %s fail, and are tried again: %s", channel.name, errors[0])
        elif not errors and channel.name in self._failing:
            self._failing.remove(channel.name)
            log.info("alerts by %s are delivered again", channel.name)


async def _either(awake: asyncio.Event, seconds: float) -> None:
    """Wait until something was raised, or for so long."""
    try:
        async with asyncio.timeout(seconds):
            await awake.wait()
    except TimeoutError:
        pass
