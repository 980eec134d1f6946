"""An HTTP server that receives traces by OTLP, or fails."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span


class Collector(ThreadingHTTPServer):
    """Records what it receives. `answer` is a status, or "hang"."""

    daemon_threads = True

    def __init__(self) -> None:
        """Listen on loopback, and accept everything."""
        self.answer: int | str = 200
        self.released = threading.Event()
        self.bodies: list[bytes] = []
        self.headers: list[dict[str, str]] = []
        super().__init__(("127.0.0.1", 0), _Handler)

    @property
    def env(self) -> dict[str, str]:
        """The standard variables with its URL."""
        return {
            "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{self.server_address[1]}",
            "OTEL_EXPORTER_OTLP_HEADERS": "authorization=Bearer hunter2",
            "OTEL_BSP_SCHEDULE_DELAY": "100",
        }

    @property
    def spans(self) -> list[Span]:
        """All spans so far."""
        return [
            span
            for body in self.bodies
            for resource in ExportTraceServiceRequest.FromString(body).resource_spans
            for scope in resource.scope_spans
            for span in scope.spans
        ]

    @property
    def services(self) -> set[str]:
        """The service names of the senders."""
        return {
            attribute.value.string_value
            for body in self.bodies
            for resource in ExportTraceServiceRequest.FromString(body).resource_spans
            for attribute in resource.resource.attributes
            if attribute.key == "service.name"
        }


def attributes(span: Span) -> dict[str, Any]:
    """Return a span's attributes: texts, and lists of texts."""
    found: dict[str, Any] = {}
    for attribute in span.attributes:
        value = attribute.value
        texts = [one.string_value for one in value.array_value.values]
        found[attribute.key] = texts if value.HasField("array_value") else value.string_value
    return found


class _Handler(BaseHTTPRequestHandler):
    server: Collector

    def do_POST(self) -> None:
        """Record the request, and respond as `answer` says."""
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.server.answer == "hang":
            self.server.released.wait(60)
            return
        self.server.bodies.append(body)
        self.server.headers.append(dict(self.headers))
        self.send_response(int(self.server.answer))
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Log nothing."""

    def handle(self) -> None:
        """Ignore a client that disconnects."""
        try:
            super().handle()
        except ConnectionError:
            self.close_connection = True


@contextmanager
def collector() -> Iterator[Collector]:
    """Run a collector on a port of loopback."""
    server = Collector()
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    try:
        yield server
    finally:
        server.released.set()
        server.shutdown()
        server.server_close()
