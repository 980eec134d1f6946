"""The benchmark's tables, and whether its aims are met."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from rich.table import Table

from bench.groups import Groups
from bench.load import STREAM, UNARY, Row
from bench.servers import Server
from bench.soak import SoakResult
from sidecar.cli.tables import cell

EMPTY, PLAIN, CERBOS = "empty handler", "sidecar", "Cerbos"
FLAT = 1.1
"""What is flat may still rise by so much: noise is that large."""


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


class Rows:
    """The rows of one run, by server and call."""

    def __init__(self, rows: Sequence[Row]) -> None:
        """Use these rows."""
        self._rows = {(row.server, row.rpc, row.in_flight): row for row in rows}

    def ratio(self, figure: str, one: tuple[str, str, int], other: tuple[str, str, int]) -> float:
        """Return the ratio of one row's figure to another's; nan if a row is missing."""
        if one not in self._rows or other not in self._rows:
            return float("nan")
        return float(getattr(self._rows[one], figure) / getattr(self._rows[other], figure))


def aims(
    rows: Sequence[Row], servers: Sequence[Server], filled: str, soaked: SoakResult
) -> Iterator[Aim]:
    """Return each target with its measured value; without Cerbos, its targets are omitted."""
    found, cpu = Rows(rows), "cpu_us_per_call"
    unary, stream = (PLAIN, UNARY, 64), (PLAIN, STREAM, 64)
    yield Aim(
        "unary, 64 in flight: CPU, to the empty handler's",
        1.25, found.ratio(cpu, unary, (EMPTY, UNARY, 64)), " x",
    )  # fmt: skip
    if any(server.name == CERBOS for server in servers):
        other = (CERBOS, UNARY, 64)
        for name, at_most, measured in (
            ("unary, 64 in flight: CPU", 1.0, found.ratio(cpu, unary, other)),
            ("stream, 64 in flight: CPU", 0.5, found.ratio(cpu, stream, other)),
            (
                "unary, 1 in flight: mean latency",
                1.3, found.ratio("mean_ms", (PLAIN, UNARY, 1), (CERBOS, UNARY, 1)),
            ),
            ("unary, 64 in flight: p99", 1.0, found.ratio("p99_ms", unary, other)),
        ):  # fmt: skip
            yield Aim(f"{name}, to Cerbos'", at_most, measured, " x")
    for rpc in (UNARY, STREAM):
        ratio = found.ratio(cpu, (filled, rpc, 64), (PLAIN, rpc, 64))
        yield Aim(f"{rpc}: CPU with {filled}, to none", FLAT, ratio, " x")
    ours = [server for server in servers if server.name not in (EMPTY, CERBOS)]
    idle = next(server.idle_mb for server in ours if server.name == "50 more rules")
    yield Aim("resident, idle, 50 more rules", 80, idle, " MB")
    starts = {server.name: server.start_seconds for server in ours}
    for name in ("50 more rules", filled):
        yield Aim(f"from start to SERVING, {name}", 1, starts[name], " s")
    yield Aim("longest wait under load", 50, soaked.longest_ms, " ms")


def rows_table(rows: Sequence[Row]) -> Table:
    """Return the cost of calls, with the ratio to the empty handler."""
    found = Rows(rows)
    table = _table(
        "10 rules, 4 limits, durable holds: the median of the rounds",
        *("server", "RPC", "in flight", "CPU µs/call", "ratio", "calls/s", "mean ms", "p50 ms"),
        *("p99 ms", "p99.9 ms", "MB"),
    )
    for row in sorted(rows, key=lambda row: (row.rpc == STREAM, -row.in_flight)):
        place = (row.rpc, row.in_flight)
        ratio = found.ratio("cpu_us_per_call", (row.server, *place), (EMPTY, *place))
        table.add_row(
            row.server,
            row.rpc,
            str(row.in_flight),
            f"{row.cpu_us_per_call:.0f}",
            f"{ratio:.2f}",
            f"{row.calls_per_second:.0f}",
            f"{row.mean_ms:.2f}",
            f"{row.p50_ms:.2f}",
            f"{row.p99_ms:.2f}",
            f"{row.p999_ms:.2f}",
            f"{row.resident_mb:.0f}",
        )
    return table


def servers_table(servers: Sequence[Server]) -> Table:
    """Return the start of each server: its time and memory."""
    table = _table("from start to serving", "server", "s", "MB idle")
    for server in servers:
        table.add_row(server.name, f"{server.start_seconds:.2f}", f"{server.idle_mb:.0f}")
    return table


def groups_table(found: Sequence[Groups]) -> Table:
    """Return how many requests shared a commit."""
    table = _table("commits", "in flight", "commits", "requests each", "ms each")
    for one in found:
        table.add_row(
            str(one.in_flight),
            str(one.commits),
            f"{one.requests_per_commit:.1f}",
            f"{one.commit_ms:.2f}",
        )
    return table


def aims_table(found: Sequence[Aim]) -> Table:
    """Return the aims, with what was measured."""
    table = _table("aims", "aim", "at most", "measured", "")
    for aim in found:
        table.add_row(
            aim.name,
            f"{aim.at_most:g}{aim.unit}",
            f"{aim.measured:.2f}{aim.unit}",
            cell("met", style="green") if aim.is_met else cell("missed", style="bold red"),
        )
    return table


def _table(title: str, *headings: str) -> Table:
    table = Table(title=title, title_justify="left")
    for heading in headings:
        is_text = heading in ("server", "RPC", "aim", "")
        table.add_column(heading, justify="left" if is_text else "right")
    return table
