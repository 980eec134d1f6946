"""Sources of the metrics that are read at each scrape."""

from collections.abc import Callable, Mapping
from typing import NamedTuple

from sidecar.alerts.counts import AlertCounts
from sidecar.authorization.policy_reload import PolicyStatus
from sidecar.domain.clock import GuardedClock
from sidecar.domain.sharing import FleetState
from sidecar.ledger.protocol import OperatorLedger
from sidecar.telemetry.line_queue import LineQueue


class Sources(NamedTuple):
    """The parts of the sidecar that gauges are read from."""

    ledger: OperatorLedger
    clock: GuardedClock
    policies: Callable[[], PolicyStatus]
    loads: Mapping[str, int]
    """Policy loads, by result."""
    ready: Callable[[], bool]
    alerts: AlertCounts
    log_dropped: Callable[[], int]
    certificate_seconds: Callable[[], float | None] = lambda: None
    """How long the sidecar's certificate is valid; None without TLS."""
    client_ca_seconds: Callable[[], float | None] = lambda: None
    """How long the first client CA that ends is valid; None without client CAs."""
    keys_age_seconds: Callable[[], float | None] = lambda: None
    """The age of the keys that verify tokens; None without tokens."""
    fleet: Callable[[], FleetState | None] = lambda: None
    """What is known of the fleet; None without one."""
    decision_log: LineQueue | None = None
