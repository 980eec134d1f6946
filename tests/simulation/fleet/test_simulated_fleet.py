"""The simulated fleet: many worlds, each from its seed, in which every promise has to hold."""

import pytest

from simulation.fleet.world import World

SEEDS = 12


@pytest.mark.parametrize("seed", range(SEEDS))
def test_no_promise_breaks_in_a_simulated_fleet(seed: int) -> None:
    """G1 to G9, L1: clocks, partitions, crashes, copied ledgers, books that go back."""
    World(seed).run()
