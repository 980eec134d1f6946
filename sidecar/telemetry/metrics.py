"""Prometheus metrics of a sidecar: counters, and gauges read at each scrape."""

from collections.abc import Iterable, Iterator, Mapping

from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from sidecar.domain.decisions import Decision, HoldState
from sidecar.ledger.protocol import LedgerUnavailableError
from sidecar.telemetry import names
from sidecar.telemetry.budgets import RecentBudgets
from sidecar.telemetry.calls import DECIDING, ObservedCall
from sidecar.telemetry.counters import Counts, Histogram
from sidecar.telemetry.sources import Sources

NS = 1_000_000_000

_NO_HOLD = "none"
_REPLAYED_STATES = (*(state.value for state in HoldState), _NO_HOLD)


class Metrics(Collector):
    """Counts calls and commits, and writes the page of all metrics."""

    def __init__(self, sources: Sources, max_budgets: int) -> None:
        """Start at 0; show at most so many budgets."""
        self._sources = sources
        self._calls = Counts(names.CALLS)
        self._decisions = Counts(names.DECISIONS)
        self._replays = Counts(names.REPLAYS, *((state,) for state in _REPLAYED_STATES))
        self._reasons = Counts(names.REASONS)
        self._stages = {stage: Histogram(names.SECONDS) for stage in names.STAGE_VALUES}
        self._closed = Counts(names.HOLDS_CLOSED, ("settled",), ("released",), ("expired",))
        self._overruns = Counts(names.OVERRUNS, ())
        self._unrecognized = Counts(names.UNRECOGNIZED_USAGE, ())
        self._group = Histogram(names.GROUPS)
        self._commit = Histogram(names.SECONDS)
        self._failures = Counts(names.COMMIT_FAILURES, ())
        self._budgets = RecentBudgets(max_budgets)
        self._registry = CollectorRegistry()
        self._registry.register(self)
        ProcessCollector(registry=self._registry)

    def on_call(self, call: ObservedCall) -> None:
        """Count a call that has ended."""
        self._calls.add(call.method, call.code)
        if call.deciding is None or call.method not in DECIDING:
            return
        decision, mode = call.deciding.decision, call.deciding.mode
        self._decisions.add(decision.effect.value, mode)
        if mode == "repeat":
            state = decision.hold_state
            self._replays.add(_NO_HOLD if state is None else state.value)
        else:
            self._count_reasons(decision, mode)
        for stage, began_ns, ended_ns in call.stages():
            self._stages[stage].add((ended_ns - began_ns) / NS)
        self._stages["whole"].add((call.ended_ns - call.began_ns) / NS)
        self._budgets.on_call(call.deciding)

    def _count_reasons(self, decision: Decision, mode: str) -> None:
        for reason in decision.reasons:
            self._reasons.add(reason.code, reason.rule, mode)
        for reason in decision.shadow_reasons:
            self._reasons.add(reason.code, reason.rule, "shadow")

    def committed(self, requests: int, seconds: float, closed: Mapping[str, int]) -> None:
        """See CommitWatcher.committed."""
        self._group.add(requests)
        self._commit.add(seconds)
        for state, holds in closed.items():
            if state == "overrun":
                self._overruns.add(more=holds)
            elif state == "unrecognized_usage":
                self._unrecognized.add(more=holds)
            else:
                self._closed.add(state, more=holds)

    def failed(self, why: str) -> None:  # noqa: ARG002 - every failure counts
        """See CommitWatcher.failed."""
        self._failures.add()

    async def page(self) -> bytes:
        """Return all metrics in Prometheus' text format."""
        await self._budgets.refresh(self._sources.ledger, self._sources.clock)
        return generate_latest(self._registry)

    def collect(self) -> Iterator[Metric]:
        """Yield the counters, and read the gauges."""
        for counts in (self._calls, self._decisions, self._replays, self._reasons):
            yield counts.family()
        yield from (
            counts.family() for counts in (self._closed, self._overruns, self._unrecognized)
        )
        yield _histogram(names.STAGES, {(stage,): times for stage, times in self._stages.items()})
        yield _histogram(names.COMMIT_GROUP, {(): self._group})
        yield _histogram(names.COMMIT_SECONDS, {(): self._commit})
        yield self._failures.family()
        yield from self._budgets.collect()
        yield from _of_ledger(self._sources)
        yield from _of_fleet(self._sources)
        yield from _of_policies(self._sources)
        yield from _of_logs_and_alerts(self._sources)


def _of_ledger(sources: Sources) -> Iterator[Metric]:
    yield _gauge(names.READY, float(sources.ready()))
    yield _gauge(names.CLOCK_BEHIND, sources.clock.behind_us() / 1e6)
    yield _gauge(names.CERTIFICATE_EXPIRY, sources.certificate_seconds())
    yield _gauge(names.CLIENT_CA_EXPIRY, sources.client_ca_seconds())
    yield _gauge(names.KEYS_AGE, sources.keys_age_seconds())
    yield _gauge(names.COMMIT_QUEUE, sources.ledger.waiting)
    try:
        open_holds, use = sources.ledger.count_open_holds(), sources.ledger.disk_use()
        denials = sources.ledger.denial_counts()
    except LedgerUnavailableError:
        return
    yield _gauge(names.HOLDS_OPEN, open_holds)
    yield _gauge(names.DENIALS, denials.kept)
    yield _counter(names.DENIALS_DROPPED, [((), denials.dropped)])
    yield _gauge(names.LEDGER_FILE, use.file_bytes)
    yield _gauge(names.LEDGER_WAL, use.wal_bytes)
    yield _gauge(names.LEDGER_FREE, use.free_bytes)


def _of_fleet(sources: Sources) -> Iterator[Metric]:
    fleet = sources.fleet()
    yield _gauge(names.FLEET_AGE, None if fleet is None else fleet.exchange_age_seconds)
    yield _gauge(names.FLEET_HOLDERS, None if fleet is None else fleet.holders)
    yield _gauge(names.FLEET_CLOCK, None if fleet is None else fleet.clock_ahead_us / 1e6)
    answered, failed = (0, 0) if fleet is None else (fleet.answered, fleet.failed)
    yield _counter(names.FLEET_EXCHANGES, [(("answered",), answered), (("failed",), failed)])


def _of_policies(sources: Sources) -> Iterator[Metric]:
    policy = sources.policies()
    yield _gauge(names.POLICY_GENERATION, policy.generation)
    yield _gauge(names.POLICY_INFO, 1, policy.digest)
    yield _gauge(names.POLICY_LOADED, policy.loaded_at_us / 1e6)
    yield _gauge(names.POLICY_STALE, policy.stale_since_us / 1e6)
    yield _counter(names.POLICY_RELOADS, [((result,), n) for result, n in sources.loads.items()])


def _of_logs_and_alerts(sources: Sources) -> Iterator[Metric]:
    alerts = sources.alerts
    yield _counter(names.ALERTS_RAISED, [((kind,), n) for kind, n in alerts.raised.items()])
    yield _counter(names.ALERTS_DELIVERED, alerts.delivered.items())
    yield _counter(names.ALERTS_FAILED, alerts.failed.items())
    yield _counter(names.LOG_DROPPED, [((), sources.log_dropped())])
    if (queue := sources.decision_log) is not None:
        yield _counter(names.DECISION_LOG_LINES, [((), queue.written)])
        yield _counter(names.DECISION_LOG_DROPPED, [((), queue.dropped)])
        yield _gauge(names.DECISION_LOG_QUEUE, queue.waiting)


def _gauge(name: names.Name, value: float | None, *labels: str) -> GaugeMetricFamily:
    family = GaugeMetricFamily(name.name, name.help, labels=name.labels)
    if value is not None:
        family.add_metric(labels, value)
    return family


def _counter(
    name: names.Name, counts: Iterable[tuple[tuple[str, ...], int]]
) -> CounterMetricFamily:
    family = CounterMetricFamily(name.name, name.help, labels=name.labels)
    for labels, count in counts:
        family.add_metric(labels, count)
    return family


def _histogram(
    name: names.Name, histograms: Mapping[tuple[str, ...], Histogram]
) -> HistogramMetricFamily:
    family = HistogramMetricFamily(name.name, name.help, labels=name.labels)
    for labels, histogram in histograms.items():
        histogram.add_to(family, *labels)
    return family
