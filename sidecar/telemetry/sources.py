"""Where metrics are looked up when somebody asks."""

from collections.abc import Callable, Mapping
from typing import NamedTuple

from sidecar.alerts.counts import AlertCounts
from sidecar.authorization.policy_reload import PolicyStatus
from sidecar.domain.clock import Clock
from sidecar.ledger.protocol import OperatorLedger
from sidecar.telemetry.line_queue import LineQueue


class Sources(NamedTuple):
    """Where metrics are looked up."""

    books: OperatorLedger
    clock: Clock
    policies: Callable[[], PolicyStatus]
    loads: Mapping[str, int]
    """Loads of policies, by how they ended."""
    ready: Callable[[], bool]
    alerts: AlertCounts
    log_dropped: Callable[[], int]
    decision_log: LineQueue | None = None
