"""The siege: attacks a running sidecar, beside an honest caller, and shows what held.

An attack is hostile inputs without end, tests that attack, or both: `--list` shows them. The
inputs of one seed are the same each time, as far as the sidecar's answers are.
"""

import argparse
import secrets
import statistics
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.text import Text

from sidecar.cli.tables import Table, cell, console, print_table
from siege import attack_tests
from siege.attack import Attack, Fuzzer
from siege.attack_tests import TestResult
from siege.catalogue import ATTACKS
from siege.siege import MEMORY_BYTES, Outcome, besiege

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
    """An attack with hostile inputs, and what came of it."""

    attack: Attack
    kind: type[Fuzzer]
    outcome: Outcome


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
        parser.error(
            f"no attack has this number or name: {options.only}; make siege LIST=1 shows them all"
        )
    if options.list:
        _list([attack for attack in ATTACKS if attack in chosen or attack in dict(fuzzed)])
        return 0
    seed = secrets.randbelow(2**32) if options.seed is None else options.seed
    results = list(_fuzz(fuzzed, seed, options.minutes * 60))
    faults = _show(results, f"seed {seed}, {options.minutes:g} minutes") if results else []
    for attack in chosen if options.only else []:
        faults += _show_tests(attack, attack_tests.run(attack))
    for fault in faults[:MAX_SHOWN]:
        console().print(fault)
    return 1 if faults else 0


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
        yield Result(attack, kind, outcome)


def _list(attacks: list[Attack]) -> None:
    """Show the attacks, with their inputs and tests."""
    table = Table("#", "attack", "hostile inputs and tests")
    for attack in attacks:
        inputs = [f"{fuzzer.name}: {fuzzer.parameters}" for fuzzer in attack.fuzzers]
        tests = (f"tests: {attack.parameters}", *attack.tests)
        table.add_row(str(attack.number), attack.name, cell(*inputs, *tests))
    print_table(table)


def _show(results: list[Result], drawn: str) -> list[str]:
    """Show a row for each attack by hostile inputs; return what was wrong."""
    limit = f"{MEMORY_BYTES >> 20} MiB, by a {results[0].outcome.memory_limit}"
    table = Table("#", "attack", "by", title=f"{drawn}; each sidecar has {limit}")
    for heading in ("inputs", "honest calls", "faults", "p50 ms", "p99", "longest", "peak MiB"):
        table.add_column(heading, justify="right")
    table.add_column("verdict")
    faults = []
    for result in results:
        attack, kind, outcome = result.attack, result.kind, result.outcome
        table.add_row(
            str(attack.number), attack.name, f"{kind.name}: {kind.parameters}",
            f"{outcome.inputs:,}", f"{outcome.honest_calls:,}", str(len(outcome.faults)),
            *_waits(outcome.waits_ms), str(outcome.peak_bytes >> 20) if outcome.peak_bytes else "",
            _verdict("fell" if outcome.faults else "held"),
        )  # fmt: skip
        faults += [f"attack {attack.number}: {kind.name}: {fault}" for fault in outcome.faults]
    print_table(table)
    return faults


def _show_tests(attack: Attack, results: list[TestResult]) -> list[str]:
    """Show a row for each test of an attack; return what was wrong."""
    title = f"attack {attack.number}, {attack.name}, by tests: {attack.parameters}"
    table = Table("attacked", "has to hold", "cases", "verdict", title=title)
    for result in results:
        table.add_row(result.title, result.promise, result.shown_cases, _verdict(result.verdict))
    print_table(table)
    return [f"attack {attack.number}: {fault}" for result in results for fault in result.faults]


def _verdict(text: str) -> Text:
    return cell(text, style="bold red" if text == "fell" else "green" if text == "held" else "")


def _waits(waits_ms: list[float]) -> tuple[str, str, str]:
    """Return the middle, the 99th percentile and the longest."""
    if len(waits_ms) < 2:
        return "", "", ""
    percentiles = statistics.quantiles(waits_ms, n=100)
    return f"{percentiles[49]:.1f}", f"{percentiles[98]:.1f}", f"{max(waits_ms):.0f}"


if __name__ == "__main__":
    sys.exit(main())
