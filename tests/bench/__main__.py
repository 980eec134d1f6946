"""The benchmark: the cost of a decision, compared with an empty handler and Cerbos.

Needs h2load (Debian: nghttp2-client). CPU is what the server's process used, from the
kernel's accounting; latency is what the client saw. Compare rows of one run only.
"""

import argparse
import json
import sys
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path

from mistral_spend.v1 import authorization_pb2 as pb
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from support import tools
from support.sidecar_process import chat, stub

from bench import cerbos, filled_ledger, report, servers
from bench.groups import IN_FLIGHT, Groups, groups
from bench.load import STREAM, UNARY, Load, Row, rounds
from bench.report import Aim
from bench.servers import Server
from bench.soak import SoakResult, soak
from sidecar.cli.tables import console

MORE_RULES = (50, 500)
SOAK_SECONDS = 15
COLUMNS = (
    TextColumn("{task.description}"),
    BarColumn(),
    MofNCompleteColumn(),
    TimeRemainingColumn(),
)


@dataclass(frozen=True, slots=True)
class Results:
    """The results of one run."""

    rows: list[Row]
    servers: list[Server]
    aims: list[Aim]
    soaked: SoakResult
    groups: list[Groups]


def main() -> None:
    """Measure, print tables, and write JSON."""
    parser = argparse.ArgumentParser(prog="bench", description=__doc__)
    parser.add_argument("--calls", type=int, default=2_000, help="calls of each row and round")
    parser.add_argument("--rounds", type=int, default=5, help="rounds that medians are taken of")
    parser.add_argument("--rows", type=int, default=100_000, help="decisions in the full ledger")
    parser.add_argument("--filled", type=Path, help="keep the full ledger in this file")
    parser.add_argument("--json", type=Path, default=Path("build/bench.json"))
    options = parser.parse_args()
    if options.rows < 3:
        parser.error("--rows: at least 3")
    try:
        tools.require("h2load")
    except tools.MissingError as error:
        sys.exit(f"missing: {error}")
    options.json.parent.mkdir(exist_ok=True)
    # Not in /tmp, which may be memory: a commit has to wait for a disk.
    with (
        tempfile.TemporaryDirectory(dir=options.json.parent) as folder,
        servers.stopped_at_end() as started,
        Progress(*COLUMNS, console=console()) as progress,
    ):
        filled = options.filled or Path(folder, "filled.sqlite")
        fill(filled, Path(folder), options.rows, progress)
        name = f"{options.rows:,} decisions before"
        start(started, Path(folder), filled, name)
        metrics = servers.free_address()
        recorded = servers.sidecar(
            "with metrics", Path(folder, "watched"), args=("--metrics-listen", metrics)
        )
        started.append(recorded)
        results = measure(started[:-1], options.calls, options.rounds, name, progress)
        task = progress.add_task("commits", total=len(IN_FLIGHT))
        results.groups.extend(
            groups(recorded, metrics, options.calls, lambda: progress.advance(task))
        )
    for table in (
        report.rows_table(results.rows),
        report.servers_table(results.servers),
        report.groups_table(results.groups),
        report.aims_table(results.aims),
    ):
        console().print(table)
    write(results, options.json)


def fill(path: Path, folder: Path, decisions: int, progress: Progress) -> None:
    """Fill the large ledger, unless the file exists."""
    task = progress.add_task("filling a ledger", total=decisions)
    policies = servers.roomy(folder / "policies")
    filled_ledger.fill(
        path, policies, decisions, lambda done: progress.update(task, completed=done)
    )
    progress.update(task, completed=decisions)


def start(started: list[Server], folder: Path, filled: Path, name: str) -> None:
    """Start all servers; without Cerbos if it is not available, with a note."""
    started.append(servers.empty())
    started.append(servers.sidecar(report.PLAIN, folder / "plain"))
    started.extend(
        servers.sidecar(f"{more} more rules", folder / str(more), more) for more in MORE_RULES
    )
    started.append(servers.sidecar(name, folder / "filled", ledger=filled))
    try:
        started.append(cerbos.start(folder / "cerbos"))
    except (tools.MissingError, tools.OtherMachineError) as reason:
        console().print(f"without Cerbos: {reason}")


def measure(
    started: list[Server], calls: int, number: int, filled: str, progress: Progress
) -> Results:
    """Run all loads in rounds, and then one server under mixed load."""
    by_name = {server.name: server for server in started}
    plain = by_name[report.PLAIN]
    compared = [by_name[name] for name in (report.EMPTY, report.PLAIN, report.CERBOS)
                if name in by_name]  # fmt: skip
    others = [server for server in started if server not in compared]
    loads = [
        Load(server, UNARY, in_flight, some)
        for in_flight, some in ((64, calls), (8, calls), (1, max(100, calls // 4)))
        for server in compared
    ]
    loads += [Load(server, UNARY, 64, calls) for server in others]
    streaming = (by_name[report.EMPTY], plain, by_name[filled])
    loads += [Load(server, STREAM, 64, calls) for server in streaming]
    confirm(started)
    task = progress.add_task("rounds", total=len(loads) * (number + 1))
    rows = rounds(loads, number, lambda: progress.advance(task))
    soaking = progress.add_task("waiting under load", total=SOAK_SECONDS)
    soaked = soak(plain, SOAK_SECONDS, lambda it: progress.update(soaking, completed=it.seconds))
    confirm(started)
    return Results(rows, started, list(report.aims(rows, started, filled, soaked)), soaked, [])


def confirm(started: list[Server]) -> None:
    """Check that the measured calls are allowed, and that other calls are denied."""
    for server in started:
        if server.name == report.CERBOS:
            assert cerbos.effect(server.address, server.call.message) == "EFFECT_ALLOW"
            other = cerbos.request(model="mistral-large-latest")
            assert cerbos.effect(server.address, other) == "EFFECT_DENY"
        elif server.name != report.EMPTY:
            answer = stub(server.address).Authorize(chat())
            assert answer.effect == pb.EFFECT_ALLOW, answer
            other_answer = stub(server.address).Authorize(chat(model="mistral-large-latest"))
            assert other_answer.effect == pb.EFFECT_DENY, other_answer


def write(results: Results, path: Path) -> None:
    """Write everything as JSON."""
    document = {
        "rows": [asdict(row) for row in results.rows],
        "servers": [
            {"server": it.name, "start_seconds": it.start_seconds, "idle_mb": it.idle_mb}
            for it in results.servers
        ],
        "aims": [asdict(aim) | {"is_met": aim.is_met} for aim in results.aims],
        "soak": asdict(results.soaked),
        "commits": [asdict(one) for one in results.groups],
    }
    path.write_text(json.dumps(document, indent=2))


if __name__ == "__main__":
    main()
