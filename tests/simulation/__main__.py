"""Simulate many worlds, or one again: `make simulate SEEDS=10000`, `make simulate SEED=1234`."""

import argparse
import sys
import time
import traceback
from collections import Counter

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from sidecar.cli.tables import console
from simulation.world import World

COLUMNS = (
    BarColumn(),
    MofNCompleteColumn(),
    TextColumn("{task.fields[rate]:.0f} seeds/s"),
    TimeRemainingColumn(),
)


def many(seeds: range) -> int:
    """Run the seeds, up to the first in which a promise does not hold; return the exit code."""
    out, faults, failure, done, rate = console(), Counter[str](), None, 0, 0.0
    started = time.monotonic()
    with Progress(*COLUMNS, console=out) as progress:
        task = progress.add_task("", total=len(seeds), rate=0)
        for done, seed in enumerate(seeds, 1):
            world = World(seed)
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


def one(seed: int) -> int:
    """Run one seed, show all that happens in it, and return the exit code."""
    world = World(seed)
    failure = failure_of(world)
    sys.stdout.write("".join(f"{step}\n" for step in [*world.trace, f"digest {world.digest}"]))
    return report(failure)


def failure_of(world: World) -> Exception | None:
    """Run a world; return what should not have happened in it, if anything."""
    try:
        world.run()
    except Exception as error:
        return error
    return None


def report(failure: Exception | None) -> int:
    """Show a failure, with the command that repeats it last, and return the exit code."""
    if failure is None:
        return 0
    sys.stdout.flush()
    traceback.print_exception(failure)
    return 1


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="simulate", description=__doc__)
    parser.add_argument("--seed", type=int, help="replay this one")
    parser.add_argument("--seeds", type=int, default=10_000, help="how many to run")
    parser.add_argument("--first", type=int, default=0, help="the first of them")
    asked = parser.parse_args()
    several = range(asked.first, asked.first + asked.seeds)
    sys.exit(many(several) if asked.seed is None else one(asked.seed))
