"""The command of the fleet's simulation: `--seeds 10000 --first 0`, or one with `--seed 1234`."""

from simulation.__main__ import main
from simulation.fleet.world import World

if __name__ == "__main__":
    main("simulation.fleet", __doc__, World)
