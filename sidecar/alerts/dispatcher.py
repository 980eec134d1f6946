"""The dispatcher: delivers the alerts in the outbox, with retries until they are accepted."""

import asyncio
import logging
from collections.abc import Sequence

from sidecar.alerts.channel import Channel, NotDeliveredError
from sidecar.alerts.claims import Claims
from sidecar.alerts.counts import AlertCounts
from sidecar.alerts.summaries import MAX_SUMMARIZED, Summaries
from sidecar.domain.alerts import Alert, AlertGroup, Claim, Delivery, DeliveryOutcome, wait_us
from sidecar.domain.clock import SECOND_US, Clock
from sidecar.ledger.protocol import AlertOutbox, LedgerUnavailableError

log = logging.getLogger(__name__)

CHECK_SECONDS = 1.0
MAX_ATTEMPTS = 8
"""Concurrent attempts on one channel."""

MAX_RECORDED = 500
"""Outcomes that are recorded in one transaction."""

TAKEN_US = 10 * SECOND_US
"""When an alert is looked at again that another sidecar may be delivering."""


class Dispatcher:
    """Delivers alerts in the background, without delaying decisions.

    Each channel is independent. A channel that fails costs at most one transaction a second,
    however many alerts are due. Alerts that come too fast are sent as summaries.
    """

    def __init__(
        self,
        outbox: AlertOutbox,
        channels: Sequence[Channel],
        clock: Clock,
        counts: AlertCounts,
        claims: Claims,
    ) -> None:
        """Deliver from the outbox to the channels, by the wall clock, which may jump."""
        self._outbox = outbox
        self._claims = claims
        self._clock = clock
        self._counts = counts
        self._wakers = [(channel, asyncio.Event()) for channel in channels]
        self._failing: set[str] = set()
        outbox.on_raised(self._raised)

    async def run(self) -> None:
        """Deliver until cancelled; then attempts in progress are abandoned, and stay due."""
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
        summaries = Summaries()
        while True:
            awake.clear()
            try:
                more = await self._deliver(channel, summaries)
            except LedgerUnavailableError as error:
                log.warning("alerts by %s wait for the ledger: %s", channel.name, error)
                more = False
            if channel.name in self._failing or (summaries.waiting and not more):
                await asyncio.sleep(CHECK_SECONDS)
            elif not more:
                await _either(awake, CHECK_SECONDS)

    async def _deliver(self, channel: Channel, summaries: Summaries) -> bool:
        """Attempt a batch of due deliveries; return whether there were any."""
        for group in summaries.due:
            await self._summarize(channel, summaries, group)
        now_us, waiting = self._clock(), summaries.waiting
        due = self._outbox.due(channel.name, now_us, MAX_ATTEMPTS, without=waiting)
        own = await self._claimed(channel, due)
        single = summaries.single(own)
        outcomes = await asyncio.gather(*(self._attempt(channel, one) for one in single))
        await self._settle(channel, own, outcomes)
        return bool(due)

    async def _summarize(self, channel: Channel, summaries: Summaries, group: AlertGroup) -> None:
        """Attempt one delivery for all alerts of a group that are due: that of the first one."""
        due = self._outbox.due(channel.name, self._clock(), MAX_SUMMARIZED, group=group)
        own = await self._claimed(channel, due)
        summaries.sent(group, len(own))
        if own:
            outcome = await self._attempt(channel, own[0], others=len(own) - 1)
            same = [outcome._replace(alert_id=one.alert.alert_id) for one in own]
            await self._settle(channel, own, same)

    async def _claimed(self, channel: Channel, due: Sequence[Delivery]) -> list[Delivery]:
        """Return those of the deliveries that are this sidecar's; record which are others'."""
        claims = await self._claims.claim(channel.name, [one.alert for one in due])
        next_at_us = self._clock() + TAKEN_US
        others = [
            DeliveryOutcome(one.alert.alert_id, "", next_at_us, claim)
            for one, claim in zip(due, claims, strict=True)
            if claim is not Claim.OWN
        ]
        await self._record(channel, others)
        return [one for one, claim in zip(due, claims, strict=True) if claim is Claim.OWN]

    async def _settle(
        self, channel: Channel, own: Sequence[Delivery], outcomes: Sequence[DeliveryOutcome]
    ) -> None:
        """Settle the claims of deliveries, and record the outcomes of those attempted."""
        if not own:
            return
        if outcomes:
            self._note(channel, outcomes)
        done = {outcome.alert_id for outcome in outcomes if outcome.is_delivered}
        alerts = [one.alert for one in own]
        await self._claims.settle(
            channel.name,
            [alert for alert in alerts if alert.alert_id in done],
            [alert for alert in alerts if alert.alert_id not in done],
        )
        await self._record(channel, outcomes)

    async def _record(self, channel: Channel, outcomes: Sequence[DeliveryOutcome]) -> None:
        for start in range(0, len(outcomes), MAX_RECORDED):  # decisions wait for each transaction
            some = outcomes[start : start + MAX_RECORDED]
            await self._outbox.record(channel.name, some, self._clock())

    async def _attempt(
        self, channel: Channel, delivery: Delivery, others: int = 0
    ) -> DeliveryOutcome:
        alert, error = delivery.alert, ""
        try:
            await channel.deliver(alert, others)
        except NotDeliveredError as failure:
            error = str(failure)
        except Exception as failure:  # a bug; its text may contain anything
            error = f"failed: {type(failure).__name__}"
        counted = self._counts.failed if error else self._counts.delivered
        counted[alert.kind.value, channel.name] += 1 + others
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
    """Wait until an alert is raised, or the time is over."""
    try:
        async with asyncio.timeout(seconds):
            await awake.wait()
    except TimeoutError:
        pass
