"""The benchmark's aims, and what was measured."""

from collections.abc import Iterator
from dataclasses import dataclass

from bench.load import STREAM, UNARY
from bench.results import CERBOS, EMPTY, PLAIN, YARDSTICK, Results

CPU, MEAN, P99, RATE = "cpu_us_per_call", "mean_ms", "p99_ms", "calls_per_second"
FLAT = 1.1
"""What is flat may still rise by so much: noise is that large."""

OURS, OURS_ALONE, OURS_STREAM = (PLAIN, UNARY, 64), (PLAIN, UNARY, 1), (PLAIN, STREAM, 64)
RATIOS = (
    ("unary, 64 in flight: CPU, to the empty handler's", 1.8, CPU, OURS, (EMPTY, UNARY, 64)),
    ("unary, 1 in flight: CPU, to the empty handler's", 2.3, CPU, OURS_ALONE, (EMPTY, UNARY, 1)),
    ("unary, 64 in flight: calls/s of the empty handler, to ours", 1.7, RATE, (EMPTY, UNARY, 64), OURS),
    ("unary, 64 in flight: CPU, to Cerbos'", 1.4, CPU, OURS, (CERBOS, UNARY, 64)),
    ("stream, 64 in flight: CPU, to Cerbos' unary", 0.9, CPU, OURS_STREAM, (CERBOS, UNARY, 64)),
    ("unary, 64 in flight: p99, to Cerbos'", 1.8, P99, OURS, (CERBOS, UNARY, 64)),
    ("unary, 64 in flight: CPU, to grpcio + Redis", 0.8, CPU, OURS, (YARDSTICK, UNARY, 64)),
    ("unary, 1 in flight: CPU, to grpcio + Redis", 1.0, CPU, OURS_ALONE, (YARDSTICK, UNARY, 1)),
    ("unary, 1 in flight: mean latency, to grpcio + Redis", 1.2, MEAN, OURS_ALONE, (YARDSTICK, UNARY, 1)),
)  # fmt: skip
"""Each aim, the most that it may be, the figure, and the two rows whose ratio it is."""


@dataclass(frozen=True, slots=True)
class Aim:
    """A target of the benchmark, and the measured value."""

    name: str
    at_most: float
    measured: float
    unit: str

    @property
    def is_met(self) -> bool:
        """Whether the target is reached."""
        return self.measured <= self.at_most


def aims(results: Results) -> Iterator[Aim]:
    """Yield each target; those for a server that was not measured are left out."""
    for name, at_most, figure, one, other in RATIOS:
        ratio = results.ratio(figure, one, other)
        if ratio is not None:
            yield Aim(name, at_most, ratio, " x")
    latencies = {
        it.server: it.without_fdatasync_ms for it in results.latencies() if it.rpc == UNARY
    }
    if CERBOS in latencies:
        ratio = latencies[PLAIN] / latencies[CERBOS]
        yield Aim("unary, 1 in flight: mean latency less fdatasync, to Cerbos'", 2.0, ratio, " x")
    for written in results.writes:
        if written.rpc == UNARY and written.pwrite64 is not None:
            yield Aim("unary, 1 in flight: pwrite64 a call", 8, written.pwrite64, "")
    for rpc in (UNARY, STREAM):
        ratio = results.ratio(CPU, (results.full, rpc, 64), (PLAIN, rpc, 64))
        assert ratio is not None
        yield Aim(f"{rpc}: CPU with {results.full}, to none", FLAT, ratio, " x")
    starts = {it.server: it for it in results.starts}
    yield Aim("resident, idle, 50 more rules", 80, starts["50 more rules"].idle_mb, " MB")
    for server in ("50 more rules", results.full):
        yield Aim(f"from start to SERVING, {server}", 1, starts[server].seconds, " s")
    yield Aim("longest wait under load", 50, results.soak.longest_ms, " ms")
