"""The sidecar of this checkout beside that of another commit, in one run."""

import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.progress import Progress

from bench import servers
from bench.disk import Writes, writes
from bench.load import PAIR, SETTLE, STREAM, UNARY, Load, Row, rounds
from bench.report import RPCS, table
from bench.sidecars import Sidecar, checkout, roomy
from sidecar.cli.tables import Table

LOADS = (
    (UNARY, 64), (UNARY, 1), (STREAM, 64), (SETTLE, 64), (SETTLE, 1), (PAIR, 64), (PAIR, 1),
)  # fmt: skip
WRITING = ((UNARY, 1), (PAIR, 64))
FIGURES = {"cpu_us_per_call": "CPU µs/call", "mean_ms": "mean ms", "p99_ms": "p99 ms"}
WRITTEN = {"wal_bytes": "WAL bytes", "file_bytes": "file bytes", "pwrite64": "pwrite64"}


@dataclass(frozen=True, slots=True)
class Change:
    """One figure of both: medians, and the median of the rounds' ratios, with their range."""

    what: str
    in_flight: int
    figure: str
    before: float
    after: float
    ratio: float
    lowest: float
    highest: float


def compare(
    revision: str, calls: int, number: int, folder: Path, shown: Progress
) -> Sequence[Change]:
    """Measure both in turn. Raises RevisionError, MissingError or StartError.

    Each runs its own code, both on the policies of the other commit: what a version can load, the
    next one can.
    """
    root = checkout(revision, folder / "checkout")
    policies = roomy(folder.resolve() / "policies", root)
    with servers.stopped_at_end() as started:
        name = f"sidecar of {revision}"
        other = Sidecar(name, folder / "other", root=root, policies=policies)
        started.append(other)
        ours = Sidecar("sidecar of this checkout", folder / "ours", policies=policies)
        started.append(ours)
        loads = [
            Load(server, rpc, in_flight, calls if in_flight > 1 else max(100, calls // 4))
            for rpc, in_flight in LOADS
            for server in (other, ours)
        ]
        total = len(loads) * (number + 1) + 2 * len(WRITING)
        task = shown.add_task("rounds", total=total)

        def step() -> None:
            shown.advance(task)

        rows = rounds(loads, number, step)
        before, after = (writes(server, WRITING, calls, step) for server in (other, ours))
    return [
        *_costs(rows),
        *_writes(before, after),
        _once("start", 0, "s", other.start_seconds, ours.start_seconds),
        _once("start", 0, "MB idle", other.idle_mb, ours.idle_mb),
    ]


def changes_table(revision: str, changes: Sequence[Change]) -> Table:
    """Return a row for each figure."""
    made = table(
        f"this checkout, compared with {revision}: a ratio below 1 is less",
        *("compared", "in flight", "figure", revision, "this checkout", "ratio", "of the rounds"),
    )
    for it in changes:
        spread = "" if it.lowest == it.highest else f"{it.lowest:.2f} to {it.highest:.2f}"
        made.add_row(
            RPCS.get(it.what, it.what), str(it.in_flight or ""), it.figure,
            f"{it.before:,.2f}", f"{it.after:,.2f}", f"{it.ratio:.2f}", spread,
        )  # fmt: skip
    return made


def _costs(rows: Sequence[Sequence[Row]]) -> Iterator[Change]:
    """Yield the changes of rows, of which each two are of the same load."""
    for before, after in zip(rows[::2], rows[1::2], strict=True):
        for name, figure in FIGURES.items():
            values = [
                (getattr(one, name), getattr(two, name))
                for one, two in zip(before, after, strict=True)
            ]
            ratios = [two / one for one, two in values]
            first, second = (statistics.median(column) for column in zip(*values, strict=True))
            yield Change(
                before[0].rpc, before[0].in_flight, figure, first, second,
                statistics.median(ratios), min(ratios), max(ratios),
            )  # fmt: skip


def _writes(before: Sequence[Writes], after: Sequence[Writes]) -> Iterator[Change]:
    for one, two in zip(before, after, strict=True):
        for name, figure in WRITTEN.items():
            first, second = getattr(one, name), getattr(two, name)
            if first and second is not None:
                yield _once(one.rpc, one.in_flight, figure, first, second)


def _once(what: str, in_flight: int, figure: str, before: float, after: float) -> Change:
    """Return the change of a figure that is measured once."""
    ratio = after / before
    return Change(what, in_flight, figure, before, after, ratio, ratio, ratio)
