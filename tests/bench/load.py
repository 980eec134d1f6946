"""Load on a server, and its cost: samples, and their medians."""

import json
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from bench.servers import Server

UNARY, STREAM = "unary", "stream"


@dataclass(frozen=True, slots=True)
class Row:
    """The cost of calls to one server. Latencies are measured by the client."""

    server: str
    rpc: str
    in_flight: int
    calls: int
    cpu_us_per_call: float
    calls_per_second: float
    mean_ms: float
    p50_ms: float
    p99_ms: float
    p999_ms: float
    resident_mb: float


@dataclass(frozen=True, slots=True)
class Load:
    """Calls to one server, with a number of them in flight."""

    server: Server
    rpc: str
    in_flight: int
    calls: int

    def run(self) -> Row:
        """Make the calls. CPU is the server process's own, from the kernel's accounting."""
        drive = _unary if self.rpc == UNARY else _stream
        before = self.server.cpu_seconds()
        seconds, latencies = drive(self.server, self.in_flight, self.calls)
        used = self.server.cpu_seconds() - before
        assert len(latencies) == self.calls, f"{self}: {len(latencies)} answers"
        latencies.sort()
        return Row(
            server=self.server.name,
            rpc=self.rpc,
            in_flight=self.in_flight,
            calls=self.calls,
            cpu_us_per_call=used / self.calls * 1e6,
            calls_per_second=self.calls / seconds,
            mean_ms=statistics.fmean(latencies),
            p50_ms=latencies[self.calls // 2],
            p99_ms=latencies[int(self.calls * 0.99)],
            p999_ms=latencies[int(self.calls * 0.999)],
            resident_mb=self.server.resident_mb(),
        )


def rounds(
    loads: Sequence[Load], number: int, done: Callable[[], object] = lambda: None
) -> list[Row]:
    """Run all loads in turn, in several rounds; return the median of each.

    A temporary disturbance of the machine then affects all loads alike, and few rounds.
    Every other round runs backwards, since the first load may have an advantage.
    """
    for load in loads:
        load.run()  # warm up
        done()
    samples: dict[Load, list[Row]] = {load: [] for load in loads}
    for backwards in range(number):
        for load in reversed(loads) if backwards % 2 else loads:
            samples[load].append(load.run())
            done()
    return [_median(rows) for rows in samples.values()]


def _median(rows: Sequence[Row]) -> Row:
    figures = [field.name for field in fields(Row) if field.type is float]
    middle: dict[str, Any] = {
        name: statistics.median(getattr(row, name) for row in rows) for name in figures
    }
    return replace(rows[0], calls=sum(row.calls for row in rows), **middle)


def _unary(server: Server, in_flight: int, calls: int) -> tuple[float, list[float]]:
    """Call with h2load on one connection; return the seconds, and the latencies in ms."""
    with tempfile.TemporaryDirectory() as folder:
        body, log = Path(folder, "body"), Path(folder, "log")
        message = server.call.message
        body.write_bytes(b"\0" + len(message).to_bytes(4, "big") + message)
        command = [
            "h2load", "-n", str(calls), "-c", "1", "-m", str(in_flight), "-d", str(body),
            "-H", "content-type: application/grpc", "-H", "te: trailers",
            f"--log-file={log}", f"http://{server.address}{server.call.path}",
        ]  # fmt: skip
        started = time.monotonic()
        done = subprocess.run(command, capture_output=True, text=True, check=True)  # noqa: S603
        seconds = time.monotonic() - started
        assert f"{calls} succeeded" in done.stdout, done.stdout
        data = re.search(r"\((\d+)\) data", done.stdout)
        # An error of gRPC is a success of HTTP, and has no data; any answer has 5 bytes.
        assert data is not None, done.stdout
        assert int(data[1]) >= 5 * calls, done.stdout
        return seconds, [int(line.split("\t")[2]) / 1000 for line in log.read_text().splitlines()]


def _stream(server: Server, in_flight: int, calls: int) -> tuple[float, list[float]]:
    """Call with a Python client on one stream; return the seconds, and the latencies in ms."""
    client = Path(__file__).with_name("stream_client.py")
    message = server.call.message.hex()
    command = [sys.executable, str(client), server.address, message, str(calls), str(in_flight)]
    done = subprocess.run(command, stdout=subprocess.PIPE, check=True)  # noqa: S603
    answer = json.loads(done.stdout)
    return answer["seconds"], [latency / 1000 for latency in answer["latencies_us"]]
