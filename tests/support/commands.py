"""Commands of the command line, run as people and jobs run them."""

import os
import subprocess
import sys

from support.forks import Forked, can_fork

Ended = tuple[int, str, str]
"""The exit code, standard output and error."""


def sidecar(*args: object, program: str = "", **env: str) -> Ended:
    """Run a command, or a Python program. A command is a fork, as `support.forks` explains."""
    if program or not can_fork(env):
        return started(*args, program=program, **env)
    process = Forked([*map(str, args)], env=_environment(env))
    try:
        out, err = process.communicate(60)
    finally:
        process.kill()
    return process.wait(), out, err


def started(*args: object, program: str = "", **env: str) -> Ended:
    """Run a command, or a Python program, in a new interpreter."""
    command = ["-c", program] if program else ["-m", "sidecar", *map(str, args)]
    done = subprocess.run(  # noqa: S603 - our own program
        [sys.executable, *command],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env=_environment(env),
    )
    return done.returncode, done.stdout, done.stderr


def _environment(more: dict[str, str]) -> dict[str, str]:
    return {**os.environ, "COLUMNS": "120", "NO_COLOR": "1", **more}
