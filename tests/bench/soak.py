"""A load for a long time, to measure growth of memory, and the longest wait of a call."""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path

from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table
from support.tools import ROOT

from bench import servers
from bench.servers import Server
from bench.sidecars import Sidecar
from sidecar.cli.tables import console
from sidecar.cli.terminal import say_json

BUILD = ROOT / "build"
EXAMPLES = """examples:
  make soak                              for ten minutes
  make soak MINUTES=60 FORMAT=json > soak.json"""

SAMPLE_SECONDS = 5
WARM_UP = 0.2
"""The part of the time after which memory should be what it stays."""

COLUMNS = (
    BarColumn(),
    TextColumn("{task.fields[decisions]:,} decisions, {task.fields[mb]:.1f} MB"),
    TimeRemainingColumn(),
)


@dataclass(frozen=True, slots=True)
class Sample:
    """The server's resources at one moment."""

    seconds: float
    decisions: int
    resident_mb: float


@dataclass
class SoakResult:
    """The result of a load. Waits are measured by a client that calls every 10 ms."""

    start_mb: float
    samples: list[Sample] = field(default_factory=list)
    decisions: int = 0
    settlements: int = 0
    probes: int = 0
    longest_ms: float = 0
    machine_late_ms: float = 0

    def settled_in(self) -> list[Sample]:
        """Return the samples after the warm-up."""
        first = self.samples[-1].seconds * WARM_UP
        return [sample for sample in self.samples if sample.seconds >= first]

    def growth_mb_per_million(self) -> float:
        """Return the growth of memory after the warm-up, as the slope of a line."""
        samples = self.settled_in()
        if len(samples) < 2:
            return 0
        decisions = [sample.decisions / 1e6 for sample in samples]
        return statistics.linear_regression(decisions, [s.resident_mb for s in samples]).slope


def soak(
    server: Server, seconds: float, report: Callable[[Sample], object] = lambda _: None
) -> SoakResult:
    """Keep a server under load for this time; report a sample each second."""
    found = SoakResult(server.resident_mb())
    started, sampled = time.monotonic(), 0.0
    with _client("probe.py", server, seconds) as probe:
        with _client("soak_client.py", server, seconds) as apps:
            assert apps.stdout is not None
            for line in apps.stdout:
                found.decisions, found.settlements = map(int, line.split())
                now = time.monotonic() - started
                sample = Sample(now, found.decisions, server.resident_mb())
                if now - sampled >= SAMPLE_SECONDS or not found.samples:
                    found.samples.append(sample)
                    sampled = now
                report(sample)
        found.samples.append(sample)
        answer, _ = probe.communicate()
    assert apps.returncode == probe.returncode == 0, "a client gave up: see above"
    waits = json.loads(answer)
    found.probes, found.longest_ms = waits["calls"], waits["longest_ms"]
    found.machine_late_ms = waits["late_ms"]
    return found


def _client(module: str, server: Server, seconds: float) -> "subprocess.Popen[str]":
    program = str(Path(__file__).with_name(module))
    command = [sys.executable, program, server.address, server.call.message.hex(), str(seconds)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)  # noqa: S603 - our own


def show(found: SoakResult, file_mb: float) -> None:
    """Print the result."""
    last = found.samples[-1]
    table = Table(title="Authorize and AuthorizeStream, each settled", title_justify="left")
    for heading in ("", "figure"):
        table.add_column(heading, justify="right" if heading else "left")
    for name, figure in (
        ("decisions", f"{found.decisions:,}"),
        ("settlements", f"{found.settlements:,}"),
        ("decisions a second", f"{found.decisions / last.seconds:,.0f}"),
        ("resident at start", f"{found.start_mb:.1f} MB"),
        ("after the warm-up", f"{found.settled_in()[0].resident_mb:.1f} MB"),
        ("at the end", f"{last.resident_mb:.1f} MB"),
        ("growth for a million decisions", f"{found.growth_mb_per_million():.1f} MB"),
        (f"longest wait of {found.probes:,} calls", f"{found.longest_ms:.1f} ms"),
        ("latest that their client woke", f"{found.machine_late_ms:.1f} ms"),
        ("ledger", f"{file_mb:.1f} MB"),
    ):
        table.add_row(name, figure)
    console().print(table)


def main() -> None:
    """Run the load on a new sidecar, and print what was measured."""
    parser = argparse.ArgumentParser(
        "soak", description=__doc__, epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    parser.add_argument("--minutes", type=float, default=10, help="how long; default: 10")
    parser.add_argument("--format", choices=("text", "json"), default="text")
    options = parser.parse_args()
    seconds = options.minutes * 60
    BUILD.mkdir(exist_ok=True)
    with (
        tempfile.TemporaryDirectory(dir=BUILD) as folder,
        servers.stopped_at_end() as started,
    ):
        server = Sidecar("sidecar", Path(folder, "sidecar"))
        started.append(server)
        with Progress(*COLUMNS, console=console(err=True)) as progress:
            task = progress.add_task("", total=seconds, decisions=0, mb=server.idle_mb)

            def report(sample: Sample) -> None:
                progress.update(
                    task,
                    completed=sample.seconds,
                    decisions=sample.decisions,
                    mb=sample.resident_mb,
                )

            found = soak(server, seconds, report)
        files = Path(folder, "sidecar").glob("ledger.sqlite*")
        file_mb = sum(file.stat().st_size for file in files) / 1e6
    if options.format == "json":
        say_json(asdict(found) | {"ledger_mb": file_mb})
    else:
        show(found, file_mb)


if __name__ == "__main__":
    main()
