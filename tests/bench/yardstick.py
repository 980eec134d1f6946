"""The start of the yardstick: what a Python team might build instead, on Redis."""

import sys
from pathlib import Path

from support.tools import require

from bench.results import YARDSTICK
from bench.servers import Server
from bench.sidecars import roomy


def start(folder: Path, policies: Path | None = None) -> Server:
    """Start it on these policies, or on the shipped ones with room. Raises MissingError."""
    program = require("redis-server")
    folder = folder.resolve()
    folder.mkdir()
    policies = policies or roomy(folder / "policies")
    module = "bench.redis_yardstick.server"
    command = [sys.executable, "-m", module, program, str(policies), str(folder)]
    return Server(YARDSTICK, command)
