"""What one run of the benchmark has measured."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from bench.disk import Writes
from bench.groups import Groups
from bench.load import PAIR, Row
from bench.soak import SoakResult

EMPTY, PLAIN, CERBOS, YARDSTICK = "empty handler", "sidecar", "Cerbos", "grpcio + Redis"
"""The names of the servers that are compared."""

SYNCING = (PLAIN, YARDSTICK)
"""Those that wait for the disk before they answer."""

Place = tuple[str, str, int]
"""A server, an RPC, and how many calls are in flight."""


@dataclass(frozen=True, slots=True)
class Start:
    """The start of a server."""

    server: str
    seconds: float
    idle_mb: float


@dataclass(frozen=True, slots=True)
class Latency:
    """The mean latency of a server with one call in flight.

    `fdatasync_ms` is the time that it waits for the disk at least: of a pair, two `fdatasync`.
    """

    server: str
    rpc: str
    mean_ms: float
    fdatasync_ms: float

    @property
    def without_fdatasync_ms(self) -> float:
        """The rest."""
        return self.mean_ms - self.fdatasync_ms


@dataclass(frozen=True, slots=True)
class Results:
    """The results of one run."""

    full: str
    """The name of the server with a full ledger."""
    rows: Sequence[Row]
    starts: Sequence[Start]
    fdatasync_ms: float
    writes: Sequence[Writes]
    commits: Sequence[Groups]
    soak: SoakResult

    def row(self, server: str, rpc: str, in_flight: int) -> Row | None:
        """Return a row, or None if its server was not measured."""
        place = (server, rpc, in_flight)
        return next((it for it in self.rows if (it.server, it.rpc, it.in_flight) == place), None)

    def ratio(self, figure: str, one: Place, other: Place) -> float | None:
        """Return the ratio of one row's figure to another's; None if one was not measured."""
        row, base = self.row(*one), self.row(*other)
        if row is None or base is None:
            return None
        return float(getattr(row, figure) / getattr(base, figure))

    def latencies(self) -> Iterator[Latency]:
        """Yield the mean latencies with one call in flight."""
        for row in self.rows:
            if row.in_flight == 1:
                syncs = (2 if row.rpc == PAIR else 1) if row.server in SYNCING else 0
                yield Latency(row.server, row.rpc, row.mean_ms, syncs * self.fdatasync_ms)
