"""One run of the benchmark: all servers, all loads, and what they give."""

import statistics
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from mistral_spend.v1 import authorization_pb2 as pb
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from support import tools
from support.sidecar_process import chat, stub

from bench import cerbos, filled_ledger, servers, yardstick
from bench.disk import fdatasync_ms, writes
from bench.groups import IN_FLIGHT, groups
from bench.load import PAIR, SETTLE, STREAM, UNARY, Load, median, rounds
from bench.results import CERBOS, EMPTY, PLAIN, YARDSTICK, Results, Start
from bench.servers import Server
from bench.sidecars import Sidecar, roomy
from bench.soak import soak
from sidecar.cli.tables import console
from sidecar.cli.terminal import say

WRITING = ((UNARY, 64), (UNARY, 1), (PAIR, 64), (PAIR, 1))
MORE_RULES = (50, 500)
SOAK_SECONDS = 15
COLUMNS = (
    TextColumn("{task.description}"),
    BarColumn(),
    MofNCompleteColumn(),
    TimeRemainingColumn(),
)


@dataclass(frozen=True, slots=True)
class Plan:
    """How much to measure: the calls of each load and round, the rounds, the full ledger's rows."""

    calls: int
    rounds: int
    rows: int
    filled: Path | None = None
    """Where the full ledger is kept."""


@contextmanager
def progress() -> Iterator[Progress]:
    """Show the progress of a run, on standard error."""
    with Progress(*COLUMNS, console=console(err=True)) as shown:
        yield shown


def run(plan: Plan, folder: Path, shown: Progress) -> Results:
    """Start all servers in this folder, and measure them. Raises MissingError or StartError."""
    filled = plan.filled or folder / "filled.sqlite"
    _fill(filled, folder, plan.rows, shown)
    with servers.stopped_at_end() as started:
        full = f"{plan.rows:,} rows before"
        started.append(servers.empty())
        started.append(plain := Sidecar(PLAIN, folder / "plain"))
        started.extend(Sidecar(f"{it} more rules", folder / str(it), it) for it in MORE_RULES)
        started.append(Sidecar(full, folder / "filled", ledger=filled))
        started.extend(_others(folder))
        metrics = servers.free_address()
        watched = Sidecar("with metrics", folder / "watched", args=("--metrics-listen", metrics))
        started.append(watched)
        confirm(started)
        loads = [*_loads(started, full, plan.calls)]
        step = _steps(shown, "rounds", len(loads) * (plan.rounds + 1))
        syncs = [fdatasync_ms(folder)]
        rows = [median(rows) for rows in rounds(loads, plan.rounds, step)]
        syncs.append(fdatasync_ms(folder))
        written = writes(plain, WRITING, plan.calls, _steps(shown, "writes", len(WRITING)))
        step = _steps(shown, "commits", len(IN_FLIGHT))
        commits = groups(watched, metrics, plan.calls, step)
        step = _steps(shown, "waiting under load", SOAK_SECONDS)
        soaked = soak(plain, SOAK_SECONDS, lambda _: step())
        confirm(started)
        starts = [Start(it.name, it.start_seconds, it.idle_mb) for it in started]
    return Results(full, rows, starts, statistics.fmean(syncs), written, commits, soaked)


def confirm(started: Sequence[Server]) -> None:
    """Check that the measured calls are allowed, and that other calls are denied."""
    for server in started:
        if server.name == CERBOS:
            assert cerbos.effect(server.address, server.call.message) == "EFFECT_ALLOW"
            other = cerbos.request(model="mistral-large-latest")
            assert cerbos.effect(server.address, other) == "EFFECT_DENY"
        elif server.name != EMPTY:
            answer = stub(server.address).Authorize(chat())
            assert answer.effect == pb.EFFECT_ALLOW, answer
            other_answer = stub(server.address).Authorize(chat(model="mistral-large-latest"))
            assert other_answer.effect == pb.EFFECT_DENY, other_answer


def _fill(path: Path, folder: Path, decisions: int, shown: Progress) -> None:
    """Fill the large ledger, unless the file exists."""
    task = shown.add_task("filling a ledger", total=decisions)
    policies = roomy(folder / "policies")
    filled_ledger.fill(path, policies, decisions, lambda done: shown.update(task, completed=done))
    shown.update(task, completed=decisions)


def _others(folder: Path) -> Iterator[Server]:
    """Start what the sidecar is compared with; what is not available is left out, with a note."""
    for name, start in ((YARDSTICK, yardstick.start), (CERBOS, cerbos.start)):
        try:
            yield start(folder / name)
        except (tools.MissingError, tools.OtherMachineError) as reason:
            say(f"without {name}: {reason}", err=True)


def _loads(started: Sequence[Server], full: str, calls: int) -> Iterator[Load]:
    """Yield every row of the table."""
    by_name = {server.name: server for server in started}
    compared = [by_name[it] for it in (EMPTY, PLAIN, YARDSTICK, CERBOS) if it in by_name]
    few = max(100, calls // 4)
    for in_flight, some in ((64, calls), (8, calls), (1, few)):
        yield from (Load(server, UNARY, in_flight, some) for server in compared)
    for name in (*(f"{it} more rules" for it in MORE_RULES), full):
        yield Load(by_name[name], UNARY, 64, calls)
    for name in (EMPTY, PLAIN, full):
        yield Load(by_name[name], STREAM, 64, calls)
    for rpc in (SETTLE, PAIR):
        for in_flight, some in ((64, calls), (1, few)):
            for server in compared:
                if server.name != CERBOS:
                    yield Load(server, rpc, in_flight, some)


def _steps(shown: Progress, name: str, total: int) -> Callable[[], object]:
    """Begin a bar; return what moves it on by one."""
    task = shown.add_task(name, total=total)
    return lambda: shown.advance(task)
