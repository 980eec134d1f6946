"""Options of `sidecar serve` for what is seen from outside."""

from typing import Annotated

import typer

from sidecar.runtime.logs import LogFormat
from sidecar.telemetry.decision_lines import DecisionLineSettings, Which
from sidecar.telemetry.decision_log import DecisionLogSettings
from sidecar.telemetry.line_queue import WhenFull
from sidecar.telemetry.setup import MetricsSettings, TelemetrySettings

HealthListenOption = Annotated[
    str,
    typer.Option(
        "--health-listen",
        envvar="SIDECAR_HEALTH_LISTEN",
        metavar="HOST:PORT",
        help="Where health is told, and nothing else; any address, as in 0.0.0.0:8086.",
        show_default=False,
    ),
]
MetricsListenOption = Annotated[
    str,
    typer.Option(
        "--metrics-listen",
        envvar="SIDECAR_METRICS_LISTEN",
        metavar="HOST:PORT",
        help="Where Prometheus reads /metrics, as in 127.0.0.1:9086; they name rules and scopes.",
        show_default=False,
    ),
]
MetricsBudgetsOption = Annotated[
    int,
    typer.Option(
        "--metrics-budgets",
        envvar="SIDECAR_METRICS_BUDGETS",
        min=0,
        max=2000,
        help="How many budgets metrics show: those used last.",
    ),
]
TracesOption = Annotated[
    bool,
    typer.Option(
        "--traces",
        envvar="SIDECAR_TRACES",
        help="Send traces by OTLP over HTTP, as the variables OTEL_… say; needs the extra otel.",
    ),
]
LogFormatOption = Annotated[
    LogFormat,
    typer.Option("--log-format", envvar="SIDECAR_LOG_FORMAT", help="How the log is written."),
]
LogDecisionsOption = Annotated[
    Which,
    typer.Option(
        "--log-decisions",
        envvar="SIDECAR_LOG_DECISIONS",
        help="Which decisions have a line in the log.",
    ),
]
LogAllowSampleOption = Annotated[
    float,
    typer.Option(
        "--log-allow-sample",
        envvar="SIDECAR_LOG_ALLOW_SAMPLE",
        min=0,
        max=1,
        help="The part of allows that has a line, drawn by their ids.",
    ),
]
DecisionLogOption = Annotated[
    str,
    typer.Option(
        "--decision-log",
        envvar="SIDECAR_DECISION_LOG",
        metavar="FILE",
        help="Where each decision, Settle and Release is a line of JSON; - is standard output.",
        show_default=False,
    ),
]
DecisionLogFullOption = Annotated[
    WhenFull,
    typer.Option(
        "--decision-log-full",
        envvar="SIDECAR_DECISION_LOG_FULL",
        help="When lines cannot be written: let calls wait, or drop and count lines.",
    ),
]
DecisionLogMaskOption = Annotated[
    list[str] | None,
    typer.Option(
        "--decision-log-mask",
        envvar="SIDECAR_DECISION_LOG_MASK",
        metavar="FIELD",
        help="A field whose value is left out, as in principal.id. Repeatable.",
    ),
]
DecisionLogLabelOption = Annotated[
    list[str] | None,
    typer.Option(
        "--decision-log-label",
        envvar="SIDECAR_DECISION_LOG_LABEL",
        metavar="NAME",
        help="A label of principals that is logged; no others are. Repeatable.",
    ),
]


def telemetry_settings(
    *,
    metrics_listen: str,
    metrics_budgets: int,
    traces: bool,
    log_decisions: Which,
    log_allow_sample: float,
    decision_log: str,
    decision_log_full: WhenFull,
    decision_log_mask: list[str] | None,
    decision_log_label: list[str] | None,
) -> TelemetrySettings:
    """Put the options together."""
    return TelemetrySettings(
        metrics=MetricsSettings(metrics_listen, metrics_budgets),
        decision_log=DecisionLogSettings(
            decision_log, decision_log_full, decision_log_mask or (), decision_log_label or ()
        ),
        decision_lines=DecisionLineSettings(log_decisions, log_allow_sample),
        traces=traces,
    )
