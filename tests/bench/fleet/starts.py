"""Memory and start of a sidecar in a fleet, beside one without."""

import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from fleet.postgres_server import PostgresServer

from bench.fleet.books import books
from bench.fleet.figures import Figure, Section, number
from bench.fleet.plan import Plan
from bench.sidecars import Sidecar, roomy
from sidecar.server.health_client import status

AT_MOST_MB, AT_MOST_SECONDS = 12.0, 0.3


@dataclass(frozen=True, slots=True)
class Start:
    """A start: until the health service says ready, and what it takes then."""

    seconds: float
    idle_mb: float


def measure(plan: Plan, server: PostgresServer, folder: Path) -> Section:
    """Start both in turn, with the same policies. Raises StartError."""
    policies = roomy(folder / "policies")
    fleet: list[Start] = []
    alone: list[Start] = []
    with books(server) as made:
        args = ("--fleet-url-file", str(made.url_file))
        for turn in range(plan.starts):
            alone.append(_start(plan, folder / f"alone-{turn}", policies))
            fleet.append(_start(plan, folder / f"fleet-{turn}", policies, args))
    figures = []
    for name, unit, at_most in (
        ("idle_mb", "MB", AT_MOST_MB), ("seconds", "s", AT_MOST_SECONDS),
    ):  # fmt: skip
        one, base = (statistics.median(getattr(it, name) for it in them) for them in (fleet, alone))
        what = "memory, idle" if name == "idle_mb" else "start to ready"
        beside = f"{number(one)} {unit}, without a fleet {number(base)} {unit}"
        figures.append(Figure(f"{what}: more", one - base, unit, beside, at_most=at_most))
    return Section(f"`serve` with --fleet-url-file, medians of {plan.starts}", figures)


def _start(plan: Plan, folder: Path, policies: Path, args: Sequence[str] = ()) -> Start:
    began = time.monotonic()
    sidecar = Sidecar("sidecar", folder, args=args, policies=policies, starts=1)
    try:
        while status(sidecar.address, "", 1) != "SERVING":
            time.sleep(0.01)
        seconds = time.monotonic() - began
        time.sleep(plan.idle_seconds)
        return Start(seconds, sidecar.resident_mb())
    finally:
        sidecar.stop()
