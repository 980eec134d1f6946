"""OpenTelemetry traces: a span for each call, with a child for each stage.

Only imported with --traces; needs the extra `otel`.
"""

import asyncio
import logging
import os
import threading
import time
from collections.abc import Sequence

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import SERVICE_NAME, Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.trace import SpanKind, Status, StatusCode, set_span_in_context
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from sidecar.telemetry.calls import ObservedCall

log = logging.getLogger(__name__)

SERVICE = "sidecar.v1.AuthorizationService"
FLUSH_SECONDS = 1.0
"""How long a stop waits for the last spans."""

_SERVER_ERRORS = {"UNAVAILABLE", "INTERNAL", "UNKNOWN"}

Attributes = dict[str, str | list[str]]


class Traces:
    """Sends spans by OTLP over HTTP, configured by the variables OTEL_….

    A span is created and queued when its call ends; a thread sends batches. When the
    queue is full, because the collector is down or slow, spans are lost.
    """

    def __init__(self) -> None:
        """Start to send. Raises ValueError for invalid variables."""
        for name in ("opentelemetry", "urllib3"):  # they log URLs, and whole tracebacks
            logging.getLogger(name).setLevel(logging.CRITICAL)
        ours = {} if "OTEL_SERVICE_NAME" in os.environ else {SERVICE_NAME: "sidecar"}
        self._provider = TracerProvider(resource=Resource.create(ours), shutdown_on_exit=False)
        self._provider.add_span_processor(BatchSpanProcessor(_LoggedExporter(OTLPSpanExporter())))
        self._tracer = self._provider.get_tracer("sidecar")
        self._parent = TraceContextTextMapPropagator()

    def on_call(self, call: ObservedCall) -> None:
        """Create the spans of a call that has ended."""
        to_wall_ns = time.time_ns() - time.perf_counter_ns()
        whole = self._tracer.start_span(
            f"{SERVICE}/{call.method}",
            context=self._parent.extract(call.trace),
            kind=SpanKind.SERVER,
            attributes=_attributes(call),
            start_time=to_wall_ns + call.began_ns,
        )
        if whole.is_recording():
            if call.code in _SERVER_ERRORS:
                whole.set_status(Status(StatusCode.ERROR))
            within = set_span_in_context(whole)
            for stage, began_ns, ended_ns in call.stages():
                self._tracer.start_span(
                    stage, context=within, start_time=to_wall_ns + began_ns
                ).end(to_wall_ns + ended_ns)
        whole.end(to_wall_ns + call.ended_ns)

    async def close(self) -> None:
        """Wait briefly until the queued spans are sent."""
        sent = asyncio.Event()
        loop = asyncio.get_running_loop()

        def send() -> None:
            self._provider.shutdown()
            loop.call_soon_threadsafe(sent.set)

        threading.Thread(target=send, name="last-spans", daemon=True).start()
        try:
            async with asyncio.timeout(FLUSH_SECONDS):
                await sent.wait()
        except TimeoutError:
            log.warning("the last spans were not sent")


class _LoggedExporter(SpanExporter):
    """An exporter that logs when it starts to fail, without the URL, which may have secrets."""

    def __init__(self, exporter: SpanExporter) -> None:
        self._exporter = exporter
        self._failing = False

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        result = self._exporter.export(spans)
        failing = result is not SpanExportResult.SUCCESS
        if failing and not self._failing:
            log.warning("spans cannot be sent to the collector, and are lost until it works again")
        elif self._failing and not failing:
            log.info("spans can be sent again")
        self._failing = failing
        return result

    def shutdown(self) -> None:
        self._exporter.shutdown()


def _attributes(call: ObservedCall) -> Attributes:
    """Return a span's attributes, without principals, labels and messages."""
    attributes: Attributes = {
        "rpc.system": "grpc",
        "rpc.service": SERVICE,
        "rpc.method": call.method,
        "rpc.grpc.status": call.code,
    }
    if call.deciding is not None:
        decision = call.deciding.decision
        attributes |= {
            "sidecar.decision_id": decision.decision_id,
            "sidecar.effect": decision.effect.value,
            "sidecar.mode": call.deciding.mode,
            "sidecar.model": decision.model_id,
            "sidecar.reasons": [reason.code for reason in decision.reasons],
            "sidecar.rules": [reason.rule for reason in decision.reasons if reason.rule],
        }
    return attributes
