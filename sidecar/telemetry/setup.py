"""Setup of the configured telemetry: metrics, traces and logs of decisions."""

import asyncio
import contextlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar

from sidecar.authorization.call_recorder import NULL_RECORDERS, CallRecorders
from sidecar.domain.flags import setting
from sidecar.ledger.protocol import CommitWatcher
from sidecar.telemetry.calls import TelemetryRecorders
from sidecar.telemetry.decision_lines import DecisionLines, DecisionLineSettings, Which
from sidecar.telemetry.decision_log import DecisionLog, DecisionLogSettings
from sidecar.telemetry.sources import Sources

if TYPE_CHECKING:
    from sidecar.telemetry.metrics_listener import MetricsListener
    from sidecar.telemetry.traces import Traces

END_SECONDS = 8.0
"""How long calls may take to end at a stop, after their grace: their commits may wait for the disk.
What they decided is logged then."""


@dataclass(frozen=True, slots=True)
class MetricsSettings:
    """The address of the metrics listener (empty is off), and how many budgets it shows."""

    PANEL: ClassVar = "Logs, metrics and probes"
    listen: str = setting(
        "--metrics-listen",
        "Where Prometheus reads /metrics, as in 127.0.0.1:9086; they contain names of rules and"
        " scopes.",
        "HOST:PORT",
        default="",
    )
    budgets: int = setting(
        "--metrics-budgets",
        "How many budgets the metrics show: those used last.",
        default=200,
        min=0,
        max=2000,
    )


@dataclass(frozen=True, slots=True)
class TelemetrySettings:
    """Settings of metrics, logs of decisions and traces."""

    PANEL: ClassVar = MetricsSettings.PANEL
    metrics: MetricsSettings = field(default_factory=MetricsSettings)
    traces: bool = setting(
        "--traces",
        "Send traces with OTLP over HTTP, as the OTEL_… variables say; needs the extra otel.",
        default=False,
    )
    decision_lines: DecisionLineSettings = field(default_factory=DecisionLineSettings)
    decision_log: DecisionLogSettings = field(default_factory=DecisionLogSettings)


class Telemetry:
    """The telemetry of one sidecar. For the running event loop only."""

    def __init__(self, settings: TelemetrySettings) -> None:
        """Open the decision log and traces. Raises ValueError, which names the flag."""
        self._settings = settings
        self._decision_log: DecisionLog | None = None
        self._traces: Traces | None = None
        self._listener: MetricsListener | None = None
        take_room = None
        if settings.decision_log.masks and not settings.decision_log.file:
            raise ValueError("--decision-log-mask: needs --decision-log")
        if settings.decision_log.file:
            self._decision_log = DecisionLog(settings.decision_log)
            take_room = self._decision_log.queue.take_room
        self._calls = TelemetryRecorders(take_room)
        if self._decision_log is not None:
            self._calls.listeners.append(self._decision_log.on_call)
        if settings.decision_lines.which is not Which.NONE:
            self._calls.listeners.append(DecisionLines(settings.decision_lines).on_call)
        if settings.traces:
            self._traces = _traces()
            self._calls.listeners.append(self._traces.on_call)

    @property
    def recorders(self) -> CallRecorders:
        """The recorders for calls; NULL_RECORDERS if no telemetry is on."""
        return (
            self._calls
            if self._calls.listeners or self._settings.metrics.listen
            else NULL_RECORDERS
        )

    async def start_metrics(self, sources: Sources) -> Sequence[CommitWatcher]:
        """Start the metrics listener, if configured; return the watchers of the ledger's commits.

        Raises ValueError, which names the flag.
        """
        if not self._settings.metrics.listen:
            return ()
        from sidecar.telemetry.metrics import Metrics  # noqa: PLC0415 - optional
        from sidecar.telemetry.metrics_listener import MetricsListener  # noqa: PLC0415 - optional

        if self._decision_log is not None:
            sources = sources._replace(decision_log=self._decision_log.queue)
        metrics = Metrics(sources, self._settings.metrics.budgets)
        self._listener = MetricsListener(metrics.page)
        await self._listener.start(self._settings.metrics.listen)
        self._calls.listeners.append(metrics.on_call)
        return (metrics,)

    async def close(self) -> None:
        """Wait briefly until calls have ended, and the rest is written and sent."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(END_SECONDS):
                await self._calls.ended()
        for part in (self._listener, self._decision_log, self._traces):
            if part is not None:
                await part.close()


def _traces() -> "Traces":
    try:
        from sidecar.telemetry.traces import Traces  # noqa: PLC0415 - an optional extra, slow to import
    except ImportError:
        raise ValueError(
            "--traces: needs the extra: pip install 'mistral-spend-sidecar[otel]'"
        ) from None
    return Traces()
