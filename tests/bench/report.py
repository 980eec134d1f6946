"""The benchmark's tables."""

from collections.abc import Iterator

from bench.aims import aims
from bench.load import PAIR, SETTLE, STREAM, UNARY
from bench.results import EMPTY, YARDSTICK, Results
from sidecar.cli.tables import Table, cell

RPCS = {
    UNARY: "Authorize",
    STREAM: "AuthorizeStream",
    SETTLE: "Settle",
    PAIR: "pair",
}
TEXTS = ("server", "RPC", "aim", "", "compared")


def tables(results: Results) -> Iterator[Table]:
    """Yield all tables of a run."""
    yield _rows(results)
    yield _latencies(results)
    yield _writes(results)
    yield _commits(results)
    yield _starts(results)
    yield _aims(results)


def table(title: str, *headings: str) -> Table:
    """Return a table in which numbers are at the right."""
    made = Table(title=title)
    for heading in headings:
        made.add_column(heading, justify="left" if heading in TEXTS else "right")
    return made


def _rows(results: Results) -> Table:
    made = table(
        "the cost of a call: medians of the rounds, and ratios to the empty handler and to Redis",
        *("server", "RPC", "in flight", "CPU µs/call", "to empty", "to Redis", "calls/s"),
        *("mean ms", "p50 ms", "p99 ms", "p99.9 ms", "MB"),
    )
    order = list(RPCS)
    for row in sorted(results.rows, key=lambda row: (order.index(row.rpc), -row.in_flight)):
        place = (row.rpc, row.in_flight)
        ratios = (
            results.ratio("cpu_us_per_call", (row.server, *place), (base, *place))
            for base in (EMPTY, YARDSTICK)
        )
        made.add_row(
            row.server, RPCS[row.rpc], str(row.in_flight), f"{row.cpu_us_per_call:.0f}",
            *("" if ratio is None else f"{ratio:.2f}" for ratio in ratios),
            f"{row.calls_per_second:.0f}", f"{row.mean_ms:.2f}", f"{row.p50_ms:.2f}",
            f"{row.p99_ms:.2f}", f"{row.p999_ms:.2f}", f"{row.resident_mb:.0f}",
        )  # fmt: skip
    return made


def _latencies(results: Results) -> Table:
    made = table(
        f"mean latency, 1 in flight; one fdatasync takes {results.fdatasync_ms:.2f} ms here",
        *("server", "RPC", "ms", "of which fdatasync", "without"),
    )
    for it in results.latencies():
        made.add_row(
            it.server, RPCS[it.rpc], f"{it.mean_ms:.2f}", f"{it.fdatasync_ms:.2f}",
            f"{it.without_fdatasync_ms:.2f}",
        )  # fmt: skip
    return made


def _writes(results: Results) -> Table:
    made = table(
        "what the sidecar writes",
        *("RPC", "in flight", "WAL bytes/call", "file bytes/call", "pwrite64/call"),
    )
    for it in results.writes:
        pwrite64 = "" if it.pwrite64 is None else f"{it.pwrite64:.1f}"
        made.add_row(
            RPCS[it.rpc], str(it.in_flight), f"{it.wal_bytes:,.0f}", f"{it.file_bytes:,.0f}",
            pwrite64,
        )  # fmt: skip
    return made


def _commits(results: Results) -> Table:
    made = table("commits of Authorize", "in flight", "commits", "requests each", "ms each")
    for it in results.commits:
        requests, ms = f"{it.requests_per_commit:.1f}", f"{it.commit_ms:.2f}"
        made.add_row(str(it.in_flight), str(it.commits), requests, ms)
    return made


def _starts(results: Results) -> Table:
    made = table("from start to serving", "server", "s", "MB idle")
    for it in results.starts:
        made.add_row(it.server, f"{it.seconds:.2f}", f"{it.idle_mb:.0f}")
    return made


def _aims(results: Results) -> Table:
    made = table("aims", "aim", "at most", "measured", "")
    for aim in aims(results):
        verdict = cell("met", style="green") if aim.is_met else cell("missed", style="bold red")
        made.add_row(
            aim.name, f"{aim.at_most:g}{aim.unit}", f"{aim.measured:.2f}{aim.unit}", verdict
        )
    return made
