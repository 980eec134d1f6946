"""The points at which a rotation can crash, and the outcome of a crash at each."""

import random
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from support.mistral_admin import mistral_admin

from rotations.fork_server import CrashPoint, ForkServer
from rotations.world import World

KILLED = -9
SEEDS = 8
CRASHES_IN_A_ROW = 4
"""Crashes of one rotation, and of the commands that continue it."""


class CrashResult(NamedTuple):
    """The outcome of one crash."""

    crash_point: CrashPoint
    then: str
    """The command that was run afterwards."""
    stage: str
    live: int
    """Keys at Mistral after the crash."""
    app: str
    """Which of them the app has: old, new or none."""
    runs: int
    """Runs of the command until the rotation had ended."""
    end: str
    most_live: int
    faults: list[str]


def crash_points(fork_server: ForkServer) -> list[CrashPoint]:
    """Return the points at which a rotation can crash: around its transactions, renames and requests.

    Requests that change nothing have one point only.
    """
    with tempfile.TemporaryDirectory() as folder, mistral_admin() as server:
        world = World(Path(folder), server, fork_server)
        assert world.sidecar("rotate") == 0, world.log.read_text()
        world.check_end()
        assert world.faults == []
        counts = world.counts
    return [
        CrashPoint(kind, when, number)
        for kind, most in counts.items()
        for number in range(1, most + 1)
        for when in (("after",) if kind in ("list", "models") else ("before", "after"))
    ]


def crash_once(fork_server: ForkServer, crash_point: CrashPoint, then: str) -> CrashResult:
    """Crash a rotation, continue it with another command, and return the outcome."""
    with tempfile.TemporaryDirectory() as folder, mistral_admin() as server:
        world = World(Path(folder), server, fork_server)
        code = world.sidecar("rotate", crash_point=crash_point)
        if code != KILLED:
            world.faults.append(
                f"it was not killed, but ended with {code}: {world.log.read_text()}"
            )
        stage, live = world.stage, len(server.live)
        key = server.by_secret(world.secret)
        app = "old" if key and key.id == "key_1" else "new" if key else "none"
        runs = world.until_done(then)
        world.check_end()
        return CrashResult(
            crash_point, then, stage, live, app, runs, world.stage, server.most_live, world.faults
        )


def crash_repeatedly(fork_server: ForkServer, found: list[CrashPoint], seed: int) -> CrashResult:
    """Crash a rotation and its rollback at random points; return the final outcome."""
    chance, crashes = random.Random(seed), 0  # noqa: S311 - repeatable by the seed
    with tempfile.TemporaryDirectory() as folder, mistral_admin() as server:
        world = World(Path(folder), server, fork_server)
        while crashes < CRASHES_IN_A_ROW:
            command = "rotate" if crashes == 0 else chance.choice(["rotate", "rotate", "rollback"])
            crashes += world.sidecar(command, crash_point=chance.choice(found)) == KILLED
            time.sleep(chance.choice([0.0, 0.25]))  # with and without waiting for the lease
        stage, live = world.stage, len(server.live)
        runs = world.until_done()
        world.check_end()
        point = CrashPoint(f"{CRASHES_IN_A_ROW} times, seed {seed}", "at random", 1)
        app = "one that works" if server.by_secret(world.secret) else "none"
        return CrashResult(
            point, "rotate", stage, live, app, runs, world.stage, server.most_live, world.faults
        )


def all_crashes(part: int = 0, parts: int = 1) -> Iterator[CrashResult]:
    """Crash at every point and continue; roll back after each transaction; crash repeatedly."""
    fork_server = ForkServer()
    try:
        found = crash_points(fork_server)
        written = [one for one in found if one.kind.startswith("write") and one.when == "after"]
        cases = [(point, "rotate") for point in found] + [(one, "rollback") for one in written]
        for point, then in cases[part::parts]:
            yield crash_once(fork_server, point, then)
        for seed in range(SEEDS)[part::parts]:
            yield crash_repeatedly(fork_server, found, seed)
    finally:
        fork_server.close()
