"""A2: the dispatcher retries each channel at its own pace until every alert is delivered."""

import asyncio
from collections import defaultdict
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

import pytest
from support.alerts import alert

from sidecar.alerts import dispatcher
from sidecar.alerts.channel import NotDeliveredError
from sidecar.alerts.claims import NoClaims
from sidecar.alerts.counts import AlertCounts
from sidecar.alerts.dispatcher import MAX_ATTEMPTS, Dispatcher
from sidecar.domain.alerts import Alert, AlertGroup, Delivery, DeliveryOutcome
from sidecar.ledger.protocol import LedgerUnavailableError


class Memory:
    """An outbox in memory; retries are due at once."""

    def __init__(self, channels: Sequence[str]) -> None:
        """Owe nothing yet."""
        self.owed: dict[str, dict[str, Delivery]] = {name: {} for name in channels}
        self.errors: list[str] = []
        self.broken = False
        self.notify: Callable[[Sequence[Alert]], None] = lambda _: None

    def on_raised(self, notify: Callable[[Sequence[Alert]], None]) -> None:
        """Keep it."""
        self.notify = notify

    def put(self, *alerts: Alert) -> None:
        """Raise alerts."""
        for owed in self.owed.values():
            owed.update({one.alert_id: Delivery(one, 0) for one in alerts})
        self.notify(alerts)

    def due(
        self,
        channel: str,
        now_us: int,
        at_most: int,
        *,
        group: AlertGroup | None = None,
        without: Sequence[AlertGroup] = (),
    ) -> Sequence[Delivery]:
        """Return the due deliveries."""
        del now_us
        owed = [one for one in self.owed[channel].values() if one.alert.group not in without]
        return [one for one in owed if group in (None, one.alert.group)][:at_most]

    async def record(self, channel: str, outcomes: Sequence[DeliveryOutcome], now_us: int) -> None:
        """Owe no more what was delivered."""
        del now_us
        if self.broken:
            raise LedgerUnavailableError("the disk is full")
        for outcome in outcomes:
            self.errors.append(outcome.error)
            if not outcome.error:
                del self.owed[channel][outcome.alert_id]


class Recorder:
    """A channel with scripted results."""

    def __init__(self, name: str) -> None:
        """Take everything."""
        self.name = name
        self.got: dict[str, int] = defaultdict(int)
        self.at_once = self.most_at_once = self.others = 0
        self.fails: list[Exception] = []
        self.gate: asyncio.Event | None = None
        self.closed = False

    async def deliver(self, one: Alert, others: int = 0) -> None:
        """Take it, when the gate opens."""
        self.others += others
        self.got[one.alert_id] += 1
        self.at_once += 1
        self.most_at_once = max(self.at_once, self.most_at_once)
        try:
            if self.gate is not None:
                await self.gate.wait()
            await asyncio.sleep(0)
        finally:
            self.at_once -= 1
        if self.fails:
            raise self.fails.pop()

    async def close(self) -> None:
        """Remember it."""
        self.closed = True


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Check the outbox without delay."""
    monkeypatch.setattr(dispatcher, "CHECK_SECONDS", 0.01)


def run(
    channels: Sequence[Recorder],
    scene: Callable[[Memory, AlertCounts], Coroutine[Any, Any, None]],
) -> None:
    """Run a coroutine beside a dispatcher, which is cancelled at its end."""

    async def play() -> None:
        outbox, counts = Memory([one.name for one in channels]), AlertCounts()
        running = asyncio.create_task(
            Dispatcher(outbox, channels, lambda: 0, counts, NoClaims()).run()
        )
        await asyncio.sleep(0)
        await asyncio.wait_for(scene(outbox, counts), 20)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        assert all(one.closed for one in channels)

    asyncio.run(play())


async def until(check: Callable[[], object]) -> None:
    """Wait until the condition is true."""
    while not check():  # noqa: ASYNC110 - many things are waited for
        await asyncio.sleep(0.001)


def test_what_is_raised_is_delivered_to_every_channel_and_counted() -> None:
    """Once, where nothing fails."""
    log, webhook = Recorder("log"), Recorder("webhook")

    async def scene(outbox: Memory, counts: AlertCounts) -> None:
        outbox.put(alert(1), alert(2))
        await until(lambda: not any(outbox.owed.values()))
        assert dict(log.got) == dict(webhook.got) == {"alert_1": 1, "alert_2": 1}
        assert counts.raised == {"threshold": 2}
        assert counts.delivered == {("threshold", "log"): 2, ("threshold", "webhook"): 2}
        assert not counts.failed

    run([log, webhook], scene)


def test_what_fails_is_tried_again_and_its_error_kept() -> None:
    """A bug in a channel is a failure like others, and its text is not shown."""
    webhook = Recorder("webhook")
    webhook.fails = [ValueError("hunter2"), NotDeliveredError("HTTP status 500")]

    async def scene(outbox: Memory, counts: AlertCounts) -> None:
        outbox.put(alert())
        await until(lambda: not outbox.owed["webhook"])
        assert outbox.errors == ["HTTP status 500", "failed: ValueError", ""]
        assert counts.failed == {("threshold", "webhook"): 2}

    run([webhook], scene)


def test_a_hanging_channel_delays_no_other_and_takes_a_few_alerts_at_a_time() -> None:
    """Also with many alerts due; its attempts end with the dispatcher."""
    log, webhook = Recorder("log"), Recorder("webhook")

    async def scene(outbox: Memory, counts: AlertCounts) -> None:
        webhook.gate = asyncio.Event()
        outbox.put(*(alert(number) for number in range(50)))
        await until(lambda: not outbox.owed["log"])
        assert (len(webhook.got), webhook.most_at_once) == (MAX_ATTEMPTS, MAX_ATTEMPTS)
        assert counts.delivered == {("threshold", "log"): 50}

    run([log, webhook], scene)
    assert webhook.at_once == 0


def test_a_failing_channel_is_tried_only_at_intervals(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Each attempt takes one transaction of the ledger, for any number of alerts."""
    monkeypatch.setattr(dispatcher, "CHECK_SECONDS", 10**6)
    webhook = Recorder("webhook")
    webhook.fails = [NotDeliveredError("no")] * 1000

    async def scene(outbox: Memory, counts: AlertCounts) -> None:
        outbox.put(*(alert(number) for number in range(100)))
        await until(lambda: outbox.errors)
        outbox.put(alert(1000))
        for _ in range(100):
            await asyncio.sleep(0)
        assert counts.failed.total() == MAX_ATTEMPTS

    run([webhook], scene)


def test_a_delivery_that_cannot_be_written_down_is_made_again() -> None:
    """A2: delivery is at least once."""
    log = Recorder("log")

    async def scene(outbox: Memory, _: AlertCounts) -> None:
        outbox.broken = True
        outbox.put(alert())
        await until(lambda: log.got["alert_1"] > 1)
        outbox.broken = False
        await until(lambda: not outbox.owed["log"])

    run([log], scene)


def test_a_channel_says_when_it_fails_and_when_it_works_again(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Not at every attempt."""
    caplog.set_level("INFO")
    webhook = Recorder("webhook")
    webhook.fails = [NotDeliveredError("HTTP status 500")] * 3

    async def scene(outbox: Memory, _: AlertCounts) -> None:
        outbox.put(alert())
        await until(lambda: not outbox.owed["webhook"])

    run([webhook], scene)
    assert [record.message for record in caplog.records] == [
        "alerts by webhook fail, and are tried again: HTTP status 500",
        "alerts by webhook are delivered again",
    ]
