"""The command of the simulation: `make simulate SEEDS=10000`, or one seed again with `SEED=1234`."""

import argparse
import sys
import time
import traceback
from collections import Counter
from collections.abc import Callable
from typing import Protocol

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from sidecar.cli.tables import console
from simulation.world import World

COLUMNS = (
    BarColumn(),
    MofNCompleteColumn(),
    TextColumn("{task.fields[rate]:.0f} seeds/s"),
    TimeRemainingColumn(),
)


class AnyWorld(Protocol):
    """A world that runs once."""

    faults: Counter[str]
    trace: list[str]

    @property
    def digest(self) -> str:
        """A hash of the trace."""

    def run(self) -> None:
        """Run to the end. Raises what should not occur."""


MakeWorld = Callable[[int], AnyWorld]


def many(make_world: MakeWorld, seeds: range) -> int:
    """Run the seeds until one breaks a promise; return the exit code."""
    out, faults, failure, done, rate = console(), Counter[str](), None, 0, 0.0
    started = time.monotonic()
    with Progress(*COLUMNS, console=out) as progress:
        task = progress.add_task("", total=len(seeds), rate=0)
        for done, seed in enumerate(seeds, 1):
            world = make_world(seed)
            failure = failure_of(world)
            faults += world.faults
            rate = done / (time.monotonic() - started)
            progress.update(task, completed=done, rate=rate)
            if failure:
                break
    for fault, times in faults.most_common():
        out.print(f"{times:8} {fault}", highlight=False)
    out.print(f"{done} seeds, {rate:.0f} seeds/s, {faults.total()} faults", highlight=False)
    return report(failure)


def one(make_world: MakeWorld, seed: int) -> int:
    """Run one seed, print its trace, and return the exit code."""
    world = make_world(seed)
    failure = failure_of(world)
    sys.stdout.write("".join(f"{step}\n" for step in [*world.trace, f"digest {world.digest}"]))
    return report(failure)


def failure_of(world: AnyWorld) -> Exception | None:
    """Run a world; return the error that ended it, if any."""
    try:
        world.run()
    except Exception as error:
        return error
    return None


def report(failure: Exception | None) -> int:
    """Print a failure, with the command that repeats it at the end; return the exit code."""
    if failure is None:
        return 0
    sys.stdout.flush()
    traceback.print_exception(failure)
    return 1


def main(name: str, description: str | None, make_world: MakeWorld) -> None:
    """Run what the arguments say, and exit."""
    parser = argparse.ArgumentParser(prog=name, description=description)
    parser.add_argument("--seed", type=int, help="replay this one")
    parser.add_argument("--seeds", type=int, default=10_000, help="how many to run")
    parser.add_argument("--first", type=int, default=0, help="the first of them")
    options = parser.parse_args()
    seeds = range(options.first, options.first + options.seeds)
    sys.exit(many(make_world, seeds) if options.seed is None else one(make_world, options.seed))


if __name__ == "__main__":
    main("simulate", __doc__, World)
