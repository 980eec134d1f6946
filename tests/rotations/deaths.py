"""The points at which a rotation can crash, and the outcome of a crash at each."""

import random
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from support.mistral_admin import mistral_admin

from rotations.nursery import Death, Nursery
from rotations.world import World

KILLED = -9
SEEDS = 8
MANY = 4
"""Deaths of one rotation, and of what goes on with it."""


class Seen(NamedTuple):
    """The outcome of one crash."""

    death: Death
    then: str
    """The command that was run afterwards."""
    stage: str
    live: int
    """Keys at Mistral after the death."""
    app: str
    """Which of them the app had."""
    runs: int
    end: str
    most_live: int
    faults: list[str]


def places(nursery: Nursery) -> list[Death]:
    """Return the points at which a rotation can crash: around its transactions, renames and requests.

    A request that changes nothing is the same before and after.
    """
    with tempfile.TemporaryDirectory() as folder, mistral_admin() as server:
        world = World(Path(folder), server, nursery)
        assert world.sidecar("rotate") == 0, world.log.read_text()
        world.check_end()
        assert world.faults == []
        counts = world.counts
    return [
        Death(kind, when, number)
        for kind, most in counts.items()
        for number in range(1, most + 1)
        for when in (("after",) if kind in ("list", "models") else ("before", "after"))
    ]


def die(nursery: Nursery, death: Death, then: str) -> Seen:
    """Crash a rotation, continue it with another command, and return the outcome."""
    with tempfile.TemporaryDirectory() as folder, mistral_admin() as server:
        world = World(Path(folder), server, nursery)
        code = world.sidecar("rotate", death=death)
        if code != KILLED:
            world.faults.append(f"it did not die, but ended with {code}: {world.log.read_text()}")
        stage, live = world.stage, len(server.live)
        key = server.by_secret(world.held)
        app = "old" if key and key.id == "key_1" else "new" if key else "none"
        runs = world.until_done(then)
        world.check_end()
        return Seen(
            death, then, stage, live, app, runs, world.stage, server.most_live, world.faults
        )


def die_often(nursery: Nursery, found: list[Death], seed: int) -> Seen:
    """Crash a rotation and its rollback at random points; return the final outcome."""
    chance, deaths = random.Random(seed), 0  # noqa: S311 - a seed to come back to
    with tempfile.TemporaryDirectory() as folder, mistral_admin() as server:
        world = World(Path(folder), server, nursery)
        while deaths < MANY:
            command = "rotate" if deaths == 0 else chance.choice(["rotate", "rotate", "rollback"])
            deaths += world.sidecar(command, death=chance.choice(found)) == KILLED
            time.sleep(chance.choice([0.0, 0.25]))  # the lease is free by then, or not
        stage, live = world.stage, len(server.live)
        runs = world.until_done()
        world.check_end()
        often = Death(f"{MANY} times, seed {seed}", "at random", 1)
        app = "one that works" if server.by_secret(world.held) else "none"
        return Seen(
            often, "rotate", stage, live, app, runs, world.stage, server.most_live, world.faults
        )


def all_deaths(part: int = 0, parts: int = 1) -> Iterator[Seen]:
    """Crash at every point and continue; roll back after each transaction; crash repeatedly."""
    nursery = Nursery()
    try:
        found = places(nursery)
        written = [one for one in found if one.kind.startswith("write") and one.when == "after"]
        cases = [(death, "rotate") for death in found] + [(one, "rollback") for one in written]
        for death, then in cases[part::parts]:
            yield die(nursery, death, then)
        for seed in range(SEEDS)[part::parts]:
            yield die_often(nursery, found, seed)
    finally:
        nursery.close()
