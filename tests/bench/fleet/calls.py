"""Calls over gRPC: sidecars in a fleet, beside the same without one."""

import statistics
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, fields, replace
from pathlib import Path

from fleet.postgres_server import PostgresServer

from bench import servers
from bench.drivers import Timed, h2load
from bench.fleet.books import Books, books
from bench.fleet.figures import Figure, Section, compared
from bench.fleet.plan import Plan
from bench.servers import Server
from bench.sidecars import Sidecar

TOGETHER, ALONE = 64, 1
AT_MOST_CPU = 1.05
LATENCIES = ("p50_ms", "p99_ms", "max_ms")


@dataclass(frozen=True, slots=True)
class Sample:
    """The cost of calls to some sidecars at the same time. CPU is that of the sidecars."""

    cpu_us: float
    per_second: float
    p50_ms: float
    p99_ms: float
    max_ms: float


NAMES = [field.name for field in fields(Sample)]


@dataclass(frozen=True, slots=True)
class Load:
    """Calls to each of some sidecars, with a number of them in flight."""

    called: int
    in_flight: int
    calls: int

    @property
    def name(self) -> str:
        """What it is called in the table."""
        sidecars = "one sidecar" if self.called == 1 else f"{self.called} sidecars at once"
        return f"{sidecars}, {self.in_flight} in flight"

    def run(self, sidecars: Sequence[Server]) -> Sample:
        """Make the calls to the first of these."""
        called = sidecars[: self.called]
        before = sum(it.cpu_seconds() for it in called)
        with ThreadPoolExecutor(self.called) as pool:
            results = list(pool.map(self._call, called))
        used = sum(it.cpu_seconds() for it in called) - before
        latencies = sorted(took for _, latencies in results for took in latencies)
        number = len(latencies)
        return Sample(
            used / number * 1e6,
            sum(self.calls / seconds for seconds, _ in results),
            latencies[number // 2],
            latencies[int(number * 0.99)],
            latencies[-1],
        )

    def _call(self, sidecar: Server) -> Timed:
        with h2load(sidecar, self.calls, self.in_flight) as make_calls:
            return make_calls()


class Turns:
    """Both kinds of sidecars, which are called in turn."""

    def __init__(self, made: Books, in_fleet: Sequence[Server], without: Sequence[Server]) -> None:
        """Call these."""
        self._made, self._in_fleet, self._without = made, in_fleet, without
        self.calls = self.exchanges = 0
        """While all of the fleet were called."""

    def run(self, load: Load, *, fleet_first: bool) -> tuple[Sample, Sample]:
        """Run a load on those in the fleet, and on those without one."""
        if fleet_first:
            return self._fleet(load), load.run(self._without)
        base = load.run(self._without)
        return self._fleet(load), base

    def _fleet(self, load: Load) -> Sample:
        before = self._made.exchanges()
        sample = load.run(self._in_fleet)
        if load.called == len(self._in_fleet):
            self.exchanges += self._made.exchanges() - before
            self.calls += load.called * load.calls
        return sample


def measure(plan: Plan, server: PostgresServer, folder: Path) -> Section:
    """Measure each load in turn, in rounds. Raises MissingError or StartError."""
    to_all = Load(plan.sidecars, TOGETHER, plan.calls_together // plan.sidecars)
    loads = [Load(1, TOGETHER, plan.calls_together), Load(1, ALONE, plan.calls_alone), to_all]
    pairs: dict[Load, list[tuple[Sample, Sample]]] = {load: [] for load in loads}
    with books(server) as made, _started(plan, made.url_file, folder) as (in_fleet, without):
        Turns(made, in_fleet, without).run(to_all, fleet_first=True)  # warm up
        turns = Turns(made, in_fleet, without)
        # Each load in each order: the first of two may have an advantage.
        for number in range(2 * plan.rounds):
            for load in loads:
                pairs[load].append(turns.run(load, fleet_first=number % 2 == 0))
    figures = [one for load in loads for one in _figures(load, pairs[load])]
    beside = f"{turns.calls:,} calls to all, {turns.exchanges:,} exchanges"
    each = turns.calls / max(1, turns.exchanges)
    figures.append(Figure("calls to an exchange", each, "", beside))
    return Section(f"Authorize over gRPC, {plan.sidecars} sidecars in the fleet", figures)


@contextmanager
def _started(
    plan: Plan, url_file: Path, folder: Path
) -> Iterator[tuple[list[Server], list[Server]]]:
    """Start sidecars in a fleet, and as many without one."""
    with servers.stopped_at_end() as started:
        for number in range(plan.sidecars):
            args = ("--fleet-url-file", str(url_file))
            fleet, alone = folder / f"fleet-{number}", folder / f"alone-{number}"
            started.append(Sidecar("in a fleet", fleet, args=args, starts=1))
            started.append(Sidecar("alone", alone, starts=1))
        yield started[::2], started[1::2]


def _figures(load: Load, pairs: Sequence[tuple[Sample, Sample]]) -> Iterator[Figure]:
    """Yield the medians, and the median of the rounds' ratios of the CPU."""
    fleet, alone = _median([one for one, _ in pairs]), _median([base for _, base in pairs])
    base = "without a fleet"
    cpu = compared(f"{load.name}: CPU", fleet.cpu_us, "µs/call", base, alone.cpu_us)
    ratio = statistics.median(one.cpu_us / base.cpu_us for one, base in pairs)
    yield Figure(cpu.name, cpu.value, cpu.unit, cpu.beside, ratio, at_most=AT_MOST_CPU)
    yield compared(f"{load.name}: calls", fleet.per_second, "/s", base, alone.per_second)
    for name in LATENCIES:
        value, other = getattr(fleet, name), getattr(alone, name)
        yield compared(f"{load.name}: {name[:3]}", value, "ms", base, other)


def _median(samples: Sequence[Sample]) -> Sample:
    """Return the medians; of the longest latencies, the longest."""
    middle = [statistics.median(getattr(it, name) for it in samples) for name in NAMES]
    return replace(Sample(*middle), max_ms=max(it.max_ms for it in samples))
