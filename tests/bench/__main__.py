"""Measure Authorize, with durable holds, against a handler that does nothing.

Needs h2load (Debian: nghttp2-client). CPU is what the server's process used, from
the kernel's accounting; latency is what h2load saw. Compare rows of one run only.
"""

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from rich.table import Table
from support.policies import deny, shipped
from support.running import chat

from sidecar.cli.tables import console
from sidecar.v1 import authorization_pb2 as pb

PATH = "/sidecar.v1.AuthorizationService/Authorize"
TICKS = os.sysconf("SC_CLK_TCK")
MORE_RULES = (50, 500)
UNITS = {"us": 1e-3, "ms": 1.0, "s": 1e3}


@dataclass
class Row:
    """One measurement."""

    server: str
    in_flight: int
    calls: int
    cpu_us_per_call: float
    calls_per_second: float
    mean_ms: float
    p50_ms: float
    p99_ms: float
    p999_ms: float
    resident_mb: float


class Server:
    """A server process that is measured."""

    def __init__(self, name: str, command: list[str]) -> None:
        """Start it, and wait until it serves."""
        self.name = name
        started = time.monotonic()
        self.process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)  # noqa: S603
        assert self.process.stderr is not None
        line = next(line for line in self.process.stderr if "SERVING on" in line)
        self.start_seconds = time.monotonic() - started
        self.address = line.partition("SERVING on ")[2].partition(";")[0]

    def cpu_seconds(self) -> float:
        """User and system time so far."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / TICKS

    def resident_mb(self) -> float:
        """Resident memory now."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        found = re.search(r"VmRSS:\s+(\d+)", status)
        return int(found[1]) / 1024 if found else 0

    def measure(self, body: Path, in_flight: int, calls: int) -> Row:
        """Make so many calls."""
        log = body.with_suffix(".log")
        before = self.cpu_seconds()
        started = time.monotonic()
        command = [
            "h2load", "-n", str(calls), "-c", "1", "-m", str(in_flight), "-d", str(body),
            "-H", "content-type: application/grpc", "-H", "te: trailers",
            f"--log-file={log}", f"http://{self.address}{PATH}",
        ]  # fmt: skip
        log.unlink(missing_ok=True)
        done = subprocess.run(command, capture_output=True, text=True, check=True)  # noqa: S603
        seconds = time.monotonic() - started
        assert f"{calls} succeeded" in done.stdout, done.stdout
        latencies = sorted(int(line.split("\t")[2]) / 1000 for line in log.read_text().splitlines())
        return Row(
            server=self.name,
            in_flight=in_flight,
            calls=calls,
            cpu_us_per_call=(self.cpu_seconds() - before) / calls * 1e6,
            calls_per_second=calls / seconds,
            mean_ms=sum(latencies) / len(latencies),
            p50_ms=latencies[len(latencies) // 2],
            p99_ms=latencies[int(len(latencies) * 0.99)],
            p999_ms=latencies[int(len(latencies) * 0.999)],
            resident_mb=self.resident_mb(),
        )


def roomy(directory: Path) -> Path:
    """Return the shipped policies with ceilings that the load does not reach."""
    shipped(directory)
    for file, old, new in (
        ("workspaces.yaml", "requests_per_minute: 60", "requests_per_minute: 100_000_000"),
        ("workspaces.yaml", "monthly_budget_usd: 50", "monthly_budget_usd: 100_000_000"),
        ("roles.yaml", "500_000", "100_000_000_000"),
        ("hourly-spending-guard.cel", "\n10.0", "\n100000000.0"),
    ):
        text = (directory / file).read_text()
        assert old in text, (file, old)
        (directory / file).write_text(text.replace(old, new, 1))
    return directory


def main() -> None:
    """Measure, print a table, and write JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--calls", type=int, default=10_000, help="calls of each row")
    parser.add_argument(
        "--json", type=Path, default=Path("build/bench.json"), help="write the rows to this file"
    )
    options = parser.parse_args()
    if shutil.which("h2load") is None:
        sys.exit("h2load is missing: install Debian's nghttp2-client")
    with tempfile.TemporaryDirectory() as folder:
        rows, start_seconds = run(Path(folder), options.calls)
    show(rows, start_seconds)
    options.json.parent.mkdir(exist_ok=True)
    options.json.write_text(json.dumps([asdict(row) for row in rows], indent=2))


def run(folder: Path, calls: int) -> tuple[list[Row], float]:
    """Measure both servers in turn."""
    body = folder / "body"
    message = chat().SerializeToString()  # without a request_id: each call is a new one
    assert not pb.AuthorizeRequest.FromString(message).request_id
    body.write_bytes(b"\0" + len(message).to_bytes(4, "big") + message)
    empty = Server(
        "empty handler", [sys.executable, str(Path(__file__).with_name("empty_handler.py"))]
    )
    servers = [empty, sidecar("sidecar", folder / "shipped", 0)]
    servers += [sidecar(f"{more} more rules", folder / str(more), more) for more in MORE_RULES]
    rows = []
    try:
        for server in servers:
            server.measure(body, 64, max(100, calls // 5))  # warm up
        for in_flight, number in ((64, calls), (8, calls), (1, calls // 4)):
            rows += [server.measure(body, in_flight, number) for server in servers[:2]]
        rows += [server.measure(body, 64, calls // 2) for server in servers[2:]]
    finally:
        for server in servers:
            server.process.terminate()
            server.process.communicate()
    return rows, servers[1].start_seconds


def sidecar(name: str, folder: Path, more_rules: int) -> Server:
    """Start a sidecar of its own, with the shipped rules and more that read the request."""
    folder.mkdir()
    policies = roomy(folder / "policies")
    for number in range(more_rules):
        rule = deny(f"request.tokens > {10**9 + number} && request.batch")
        (policies / f"more-{number}.cel").write_text(rule)
    return Server(name, [
        sys.executable, "-m", "sidecar", "serve", "--policies", str(policies),
        "--ledger", str(folder / "ledger.sqlite"), "--listen", "127.0.0.1:0",
    ])  # fmt: skip


def show(rows: list[Row], start_seconds: float) -> None:
    """Print a table with the ratio to the empty handler."""
    table = Table(title="Authorize: 10 rules, 4 limits, durable holds", title_justify="left")
    for heading in (
        "server",
        "in flight",
        "CPU µs/call",
        "ratio",
        "calls/s",
        "mean ms",
        "p50 ms",
        "p99 ms",
        "p99.9 ms",
        "MB",
    ):
        table.add_column(heading, justify="left" if heading == "server" else "right")
    empty = {row.in_flight: row.cpu_us_per_call for row in rows if row.server == "empty handler"}
    for row in rows:
        table.add_row(
            row.server,
            str(row.in_flight),
            f"{row.cpu_us_per_call:.0f}",
            f"{row.cpu_us_per_call / empty[row.in_flight]:.2f}",
            f"{row.calls_per_second:.0f}",
            f"{row.mean_ms:.2f}",
            f"{row.p50_ms:.2f}",
            f"{row.p99_ms:.2f}",
            f"{row.p999_ms:.2f}",
            f"{row.resident_mb:.0f}",
        )
    console().print(table)
    console().print(f"from start to SERVING: {start_seconds:.2f} s")


main()
