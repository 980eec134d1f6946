"""Where metrics are looked up when somebody asks."""

from collections.abc import Callable
from typing import NamedTuple

from sidecar.alerts.counts import AlertCounts
from sidecar.domain.clock import Clock
from sidecar.ledger.protocol import Ledger
from sidecar.reloading import PolicyStatus
from sidecar.telemetry.line_queue import LineQueue


class Sources(NamedTuple):
    """Where metrics are looked up."""

    ledger: Ledger
    clock: Clock
    policy: Callable[[], PolicyStatus]
    ready: Callable[[], bool]
    alerts: AlertCounts
    log_dropped: Callable[[], int]
    decision_log: LineQueue | None = None
