"""The number of requests in a commit, and its duration, from the sidecar's metrics."""

import time
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass

from support.outside import samples, value

from bench.load import UNARY, Load
from bench.servers import Server
from sidecar.telemetry.metrics_listener import FRESH_SECONDS

IN_FLIGHT = (64, 8, 1)


@dataclass(frozen=True, slots=True)
class Groups:
    """The commits of one load."""

    in_flight: int
    commits: int
    requests_per_commit: float
    commit_ms: float


def groups(
    server: Server, metrics: str, calls: int, done: Callable[[], object] = lambda: None
) -> list[Groups]:
    """Make this many calls with 64, 8 and 1 in flight; the metrics are at this address."""
    found = []
    before = _totals(metrics)
    for in_flight in IN_FLIGHT:
        Load(server, UNARY, in_flight, calls).run()
        after = _totals(metrics)
        commits, requests, seconds = (
            now - earlier for now, earlier in zip(after, before, strict=True)
        )
        found.append(Groups(in_flight, int(commits), requests / commits, seconds / commits * 1000))
        before = after
        done()
    return found


def _totals(metrics: str) -> tuple[float, float, float]:
    """Return the totals of commits, of requests in them, and of their seconds."""
    time.sleep(FRESH_SECONDS)  # or it would be the page of before
    with urllib.request.urlopen(f"http://{metrics}/metrics", timeout=30) as answer:
        found = samples(answer.read().decode())
    return (
        value(found, "sidecar_commit_group_requests_count") or 0.0,
        value(found, "sidecar_commit_group_requests_sum") or 0.0,
        value(found, "sidecar_commit_seconds_sum") or 0.0,
    )
