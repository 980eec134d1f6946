"""A2: a delivery stays due, through any failure, until it succeeds."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ledger.conftest import LedgerHarness
from support.reservations import limit, reservation

from sidecar.domain.alerts import MAX_WAIT_US, DeliveryOutcome, wait_us
from sidecar.domain.clock import SECOND_US
from sidecar.domain.windows import Window
from sidecar.ledger.sqlite import SqliteLedger

NOON = 1_794_398_400 * SECOND_US
DAY = 86_400 * SECOND_US


@pytest.fixture
def harness(tmp_path: Path) -> Iterator[LedgerHarness]:
    """A ledger with two alert channels."""
    one = LedgerHarness(
        lambda path: SqliteLedger(path, channels=("log", "webhook")), tmp_path / "l.sqlite"
    )
    yield one
    assert one.findings() == []
    one.close()


def raise_three(harness: LedgerHarness, at_us: int = NOON, window: Window = Window.DAY) -> None:
    """Reach three thresholds with one call."""
    one = reservation(at_us, limit(100, window=window), alert_at=(50, 80, 100))
    harness.run(harness.ledger.decide(one))


def due(harness: LedgerHarness, channel: str = "webhook", now_us: int = NOON) -> list[Any]:
    """Return the due deliveries."""
    ledger: Any = harness.ledger
    return list(ledger.due(channel, now_us, 10))


def record(harness: LedgerHarness, error: str, next_at_us: int, now_us: int = NOON) -> None:
    """Record this result for every due delivery of the webhook."""
    ledger: Any = harness.ledger
    outcomes = [
        DeliveryOutcome(one.alert.alert_id, error, next_at_us)
        for one in due(harness, now_us=now_us)
    ]
    harness.run(ledger.record("webhook", outcomes, now_us))


def test_every_alert_is_due_for_every_channel_at_once(harness: LedgerHarness) -> None:
    """A2: also after a restart, in the order in which they were raised."""
    raise_three(harness)
    harness.reopen()
    for channel in ("log", "webhook"):
        assert [one.alert.percent for one in due(harness, channel)] == [50, 80, 100]
    assert due(harness, "command") == []


def test_a_delivered_alert_is_no_longer_due_for_that_channel(harness: LedgerHarness) -> None:
    """A2: it stays due for the other channel."""
    raise_three(harness)
    record(harness, "", NOON + 5)
    harness.reopen()
    assert (due(harness), len(due(harness, "log"))) == ([], 3)


def test_a_failed_delivery_is_due_again_after_its_delay(harness: LedgerHarness) -> None:
    """A2: with the number of attempts, which the file keeps."""
    raise_three(harness)
    record(harness, "HTTP status 500", NOON + 5 * SECOND_US)
    harness.reopen()
    assert due(harness, now_us=NOON + 5 * SECOND_US - 1) == []
    assert [one.attempts for one in due(harness, now_us=NOON + 5 * SECOND_US)] == [1, 1, 1]


def test_a_clock_set_back_does_not_put_deliveries_off(harness: LedgerHarness) -> None:
    """A2: a due time beyond the longest delay is from before the clock was set back."""
    raise_three(harness)
    record(harness, "HTTP status 500", NOON + SECOND_US)
    assert due(harness, now_us=NOON) == []
    assert len(due(harness, now_us=NOON - DAY)) == 3


def test_the_delay_doubles_up_to_an_hour() -> None:
    """For any number of failed attempts."""
    waits = [wait_us(attempts) // SECOND_US for attempts in (1, 2, 3, 11, 12, 10**6)]
    assert waits == [2, 4, 8, 2048, 3600, 3600]
    assert MAX_WAIT_US == 3600 * SECOND_US


def test_alerts_are_pruned_after_the_retention_and_the_end_of_their_window(
    harness: LedgerHarness,
) -> None:
    """A1, A2: never while a decision could raise them again; then delivered or not."""
    raise_three(harness, window=Window.MONTH)
    harness.run(harness.ledger.prune(NOON + 18 * DAY, DAY))
    raise_three(harness, NOON + 18 * DAY, window=Window.MONTH)
    assert len(due(harness)) == 3
    harness.run(harness.ledger.prune(NOON + 22 * DAY, DAY))
    assert due(harness) == []


def test_the_outcome_of_a_pruned_alert_changes_nothing(harness: LedgerHarness) -> None:
    """An attempt may last longer than its alert is kept."""
    ledger: Any = harness.ledger
    harness.run(ledger.record("webhook", [DeliveryOutcome("alert_gone", "", NOON)], NOON))
    assert due(harness) == []
