"""How much the benchmark of a fleet measures."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Plan:
    """Times in seconds, and numbers of processes and calls."""

    rounds: int
    """In which each load of the tables about decisions and calls has its turn."""
    warm_up_seconds: float
    """Before each load of decisions: a new holder does not know its load."""
    seconds: float
    """Of each load of decisions."""
    processes: int
    """That decide on one budget, with escrow and with a contended row."""
    calls_together: int
    """Of each load of calls over gRPC with 64 in flight, to one sidecar or to all."""
    calls_alone: int
    """The same with one in flight."""
    sidecars: int
    """Of the fleet that is called over gRPC."""
    kills: int
    load_before_kills_seconds: float
    """Until the holders know their load."""
    holders: int
    """That ask for shares of one hot budget."""
    exchange_seconds: float
    starts: int
    idle_seconds: float
    """From ready to the measure of memory: an exchange or two."""
    drain_seconds: float
    """For how much load the budget is that is used up."""
    drained_seconds: float
    """For how long the load goes on after that; at least three for both figures."""


FULL = Plan(
    rounds=2,
    warm_up_seconds=3,
    seconds=4,
    processes=20,
    calls_together=6_000,
    calls_alone=1_500,
    sidecars=4,
    kills=20,
    load_before_kills_seconds=12,
    holders=1_000,
    exchange_seconds=8,
    starts=5,
    idle_seconds=1.5,
    drain_seconds=20,
    drained_seconds=4,
)
FAST = Plan(
    rounds=1,
    warm_up_seconds=0.6,
    seconds=1,
    processes=4,
    calls_together=300,
    calls_alone=100,
    sidecars=2,
    kills=4,
    load_before_kills_seconds=2,
    holders=100,
    exchange_seconds=1,
    starts=1,
    idle_seconds=1,
    drain_seconds=4,
    drained_seconds=3,
)
