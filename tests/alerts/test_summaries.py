"""Alerts that come too fast: a few one by one, and then a summary for all others."""

import asyncio
from collections.abc import Sequence
from datetime import UTC
from pathlib import Path

import pytest
from support.operator_ledger import NOON
from support.reservations import limit, reservation

from sidecar.alerts import dispatcher, summaries
from sidecar.alerts.channel import NotDeliveredError
from sidecar.alerts.claims import NoClaims
from sidecar.alerts.counts import AlertCounts
from sidecar.alerts.dispatcher import Dispatcher
from sidecar.domain.alerts import Alert
from sidecar.ledger.sqlite import SqliteLedger

CALLERS = 500


class Receiver:
    """A channel that counts, and refuses the first summaries that it gets."""

    name = "receiver"

    def __init__(self, refusals: int = 0) -> None:
        """Take everything else."""
        self.single: list[Alert] = []
        self.summaries: list[tuple[Alert, int]] = []
        self._refusals = refusals

    async def deliver(self, alert: Alert, others: int = 0) -> None:
        """Take it."""
        if others and self._refusals:
            self._refusals -= 1
            raise NotDeliveredError("not now")
        if others:
            self.summaries.append((alert, others))
        else:
            self.single.append(alert)

    async def close(self) -> None:
        """Nothing is open."""


async def flood(ledger: SqliteLedger, rules: Sequence[str], callers: int) -> None:
    """Let callers reach a threshold of a limit each."""
    for number in range(callers):
        for rule in rules:
            one = limit(100, scope=f"caller-{number}", rule=rule)
            await ledger.decide(reservation(NOON, one, tokens=60, alert_at=(50,)))


async def delivered(ledger: SqliteLedger, receiver: Receiver, clock_us: int = NOON) -> AlertCounts:
    """Run a dispatcher until nothing is due."""
    counts = AlertCounts()
    running = asyncio.create_task(
        Dispatcher(ledger, [receiver], lambda: clock_us, counts, NoClaims()).run()
    )
    async with asyncio.timeout(60):
        while ledger.due(receiver.name, clock_us, 1):  # noqa: ASYNC110 - as its operator would
            await asyncio.sleep(0.01)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    return counts


@pytest.fixture(autouse=True)
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """A summary has half a second to wait."""
    monkeypatch.setattr(summaries, "SUMMARY_SECONDS", 0.5)
    monkeypatch.setattr(dispatcher, "CHECK_SECONDS", 0.01)


def test_a_flood_of_alerts_is_a_few_and_a_summary(tmp_path: Path) -> None:
    """A2: one rule `per: principal` has as many alerts as there are callers; none is lost."""

    async def play() -> None:
        ledger = SqliteLedger(tmp_path / "ledger.sqlite", UTC, [Receiver.name])
        receiver = Receiver()
        await flood(ledger, ["tokens-each"], CALLERS)
        counts = await delivered(ledger, receiver)
        await ledger.close()
        stood_for = sum(1 + others for _, others in receiver.summaries)
        assert len(receiver.single) + stood_for == CALLERS
        assert len(receiver.single) <= 2 * summaries.MAX_ALERTS
        assert counts.delivered["threshold", receiver.name] == CALLERS
        alert, others = receiver.summaries[0]
        assert alert.text(others).endswith(
            f"; and {others:,} more such alerts: see `sidecar ledger alerts`"
        )
        assert alert.document(others)["others"] == others

    asyncio.run(play())


def test_a_flood_of_one_rule_holds_back_no_other(tmp_path: Path) -> None:
    """Its own alerts wait, those of another rule are sent one by one."""

    async def play() -> None:
        ledger = SqliteLedger(tmp_path / "ledger.sqlite", UTC, [Receiver.name])
        receiver = Receiver()
        await flood(ledger, ["tokens-each"], CALLERS)
        await flood(ledger, ["tokens-team"], 3)
        await delivered(ledger, receiver)
        await ledger.close()
        assert sum(alert.rule == "tokens-team" for alert in receiver.single) == 3
        assert {alert.rule for alert, _ in receiver.summaries} == {"tokens-each"}

    asyncio.run(play())


def test_a_summary_that_is_not_accepted_stays_due(tmp_path: Path) -> None:
    """A2: all the alerts that it stands for."""

    async def play() -> None:
        ledger = SqliteLedger(tmp_path / "ledger.sqlite", UTC, [Receiver.name])
        receiver = Receiver(refusals=1)
        await flood(ledger, ["tokens-each"], CALLERS)
        counts = await delivered(ledger, receiver)
        failed = counts.failed["threshold", receiver.name]
        assert failed > summaries.MAX_ALERTS
        later = NOON + 3_600_000_000
        assert len(ledger.due(receiver.name, later, CALLERS)) == failed
        await delivered(ledger, receiver, later)
        await ledger.close()
        stood_for = sum(1 + others for _, others in receiver.summaries)
        assert len(receiver.single) + stood_for == CALLERS

    asyncio.run(play())
