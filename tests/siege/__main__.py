"""The siege: attacks a running sidecar, beside an honest caller, and shows what held.

An attack is hostile inputs without end, tests that attack, or both: `--list` shows them. The
inputs of one seed are the same each time, as far as the sidecar's answers are.
"""

import argparse
import secrets
import statistics
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from sidecar.cli.tables import Table, cell, console, print_table
from siege.attack import Attack, Fuzzer
from siege.catalogue import ATTACKS
from siege.siege import Outcome, besiege

ROOT = Path(__file__).parents[2]
EXAMPLES = """examples:
  make siege                        all hostile inputs, for 10 minutes together
  make siege MINUTES=60 ONLY=11     an hour of HTTP on every listener, and its tests
  make siege ONLY=tokens SEED=7     the same tokens again
  make siege ONLY=14                the tests of a full disk"""
COLUMNS = (
    TextColumn("{task.description}"),
    BarColumn(),
    TextColumn("{task.fields[inputs]:,} inputs"),
    TimeRemainingColumn(),
)
MAX_SHOWN = 20


@dataclass(frozen=True, slots=True)
class Result:
    """A row of the table, and what was wrong."""

    attack: Attack
    means: str
    """The parameters of hostile inputs, or how many tests."""
    outcome: Outcome
    skipped: int = 0

    @property
    def verdict(self) -> str:
        """What became of the sidecar."""
        if self.outcome.faults:
            return "fell"
        return f"held, {self.skipped} skipped" if self.skipped else "held"


def main() -> int:
    """Run the chosen attacks; return 1 if the sidecar fell."""
    parser = argparse.ArgumentParser(
        "siege", description=__doc__, epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    parser.add_argument("--minutes", type=float, default=10, help="for all hostile inputs together")
    parser.add_argument(
        "--only", default="", help="an attack's number, or a part of its or its inputs' name"
    )
    parser.add_argument("--seed", type=int, help="draw the same inputs again")
    parser.add_argument("--list", action="store_true", help="show the attacks, and attack nothing")
    options = parser.parse_args()
    chosen = [attack for attack in ATTACKS if attack.is_meant_by(options.only)]
    fuzzed = [
        (attack, kind) for attack in ATTACKS for kind in attack.fuzzers_meant_by(options.only)
    ]
    if not (chosen or fuzzed):
        parser.error(f"no attack has this number or name: {options.only}")
    if options.list:
        _list([attack for attack in ATTACKS if attack in chosen or attack in dict(fuzzed)])
        return 0
    seed = secrets.randbelow(2**32) if options.seed is None else options.seed
    results = list(_fuzz(fuzzed, seed, options.minutes * 60))
    if options.only:
        results += [result for attack in chosen for result in _test(attack)]
    _show(results, seed)
    return 1 if any(result.outcome.faults for result in results) else 0


def _fuzz(fuzzed: list[tuple[Attack, type[Fuzzer]]], seed: int, seconds: float) -> Iterator[Result]:
    """Attack one sidecar after the other with hostile inputs, each for its part of the time."""
    for attack, kind in fuzzed:
        own = seconds / len(fuzzed)
        with (
            tempfile.TemporaryDirectory() as folder,
            Progress(*COLUMNS, console=console()) as shown,
        ):
            task = shown.add_task(kind.name, total=own, inputs=0)

            def report(inputs: int, seconds: float) -> None:
                shown.update(task, completed=seconds, inputs=inputs)  # noqa: B023 - called in here

            outcome = besiege(kind, Path(folder), seed, seconds=own, report=report)
        yield Result(attack, f"{kind.name}: {kind.parameters}", outcome)


def _test(attack: Attack) -> Iterator[Result]:
    """Run the tests of an attack."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder, "report.xml")
        subprocess.run(  # noqa: S603 - our own tests
            [sys.executable, "-m", "pytest", "-q", f"--junit-xml={report}", *attack.tests],
            cwd=ROOT, check=False, stdout=sys.stderr,
        )  # fmt: skip
        cases = [*ET.parse(report).getroot().iter("testcase")]  # noqa: S314 - pytest wrote it
    faults = [case.get("name", "") for case in cases if case.find("failure") or case.find("error")]
    skipped = sum(case.find("skipped") is not None for case in cases)
    outcome = Outcome(inputs=len(cases), faults=faults or ([] if cases else ["no test ran"]))
    yield Result(attack, f"tests: {len(cases)}", outcome, skipped)


def _list(attacks: list[Attack]) -> None:
    """Show the attacks, with their inputs and tests."""
    table = Table("#", "attack", "hostile inputs and tests")
    for attack in attacks:
        inputs = [f"{fuzzer.name}: {fuzzer.parameters}" for fuzzer in attack.fuzzers]
        table.add_row(str(attack.number), attack.name, cell(*inputs, *attack.tests))
    print_table(table)


def _show(results: list[Result], seed: int) -> None:
    """Show a row for each attack, and what was wrong."""
    table = Table("#", "attack", "by", title=f"seed {seed}")
    for heading in ("inputs", "honest calls", "faults", "p50 ms", "p99", "longest", "peak MiB"):
        table.add_column(heading, justify="right")
    table.add_column("verdict")
    for result in results:
        outcome = result.outcome
        table.add_row(
            str(result.attack.number), result.attack.name, result.means, f"{outcome.inputs:,}",
            f"{outcome.honest_calls:,}" if outcome.waits_ms else "", str(len(outcome.faults)),
            *_waits(outcome.waits_ms), str(outcome.peak_bytes >> 20) if outcome.peak_bytes else "",
            cell(result.verdict, style="bold red" if outcome.faults else "green"),
        )  # fmt: skip
    print_table(table)
    for result in results:
        for fault in result.outcome.faults[:MAX_SHOWN]:
            console().print(f"attack {result.attack.number}: {fault}")


def _waits(waits_ms: list[float]) -> tuple[str, str, str]:
    """Return the middle, the 99th percentile and the longest."""
    if len(waits_ms) < 2:
        return "", "", ""
    percentiles = statistics.quantiles(waits_ms, n=100)
    return f"{percentiles[49]:.1f}", f"{percentiles[98]:.1f}", f"{max(waits_ms):.0f}"


if __name__ == "__main__":
    sys.exit(main())
