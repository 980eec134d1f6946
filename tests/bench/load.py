"""Load on a server, and its cost: samples, and their medians."""

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

from bench import drivers
from bench.servers import Server

UNARY, STREAM, SETTLE, PAIR = "unary", "stream", "settle", "pair"
"""Authorize; AuthorizeStream; Settle alone, of holds made before; Authorize and then Settle."""


@dataclass(frozen=True, slots=True)
class Row:
    """The cost of calls to one server; a pair is one call. Latencies are measured by the client."""

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


FIGURES = [field.name for field in fields(Row) if field.type is float]


@dataclass(frozen=True, slots=True)
class Load:
    """Calls to one server, with a number of them in flight."""

    server: Server
    rpc: str
    in_flight: int
    calls: int

    def run(self) -> Row:
        """Make the calls. CPU is that of the server's processes, by the kernel's accounting."""
        if self.rpc == UNARY:
            client = drivers.h2load(self.server, self.calls, self.in_flight)
        else:
            client = drivers.grpc_client(self.server, self.rpc, self.calls, self.in_flight)
        with client as make_calls:
            before = self.server.cpu_seconds()
            seconds, latencies = make_calls()
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
) -> list[list[Row]]:
    """Run all loads in turn, in several rounds; return the rows of each load.

    A temporary disturbance of the machine then affects all loads alike, and few rounds.
    Every other round runs backwards, since the first load may have an advantage.
    """
    for load in loads:
        load.run()  # warm up
        done()
    rows: dict[Load, list[Row]] = {load: [] for load in loads}
    for backwards in range(number):
        for load in reversed(loads) if backwards % 2 else loads:
            rows[load].append(load.run())
            done()
    return list(rows.values())


def median(rows: Sequence[Row]) -> Row:
    """Return the medians of a load's rows."""
    middle: dict[str, Any] = {
        name: statistics.median(getattr(row, name) for row in rows) for name in FIGURES
    }
    return replace(rows[0], calls=sum(row.calls for row in rows), **middle)
