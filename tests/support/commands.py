"""Running the command line, as people and jobs run it."""

import os
import subprocess
import sys


def sidecar(*args: object, program: str = "", **env: str) -> tuple[int, str, str]:
    """Run a command, or a program of ours; return exit code, standard output and error."""
    command = ["-c", program] if program else ["-m", "sidecar", *map(str, args)]
    done = subprocess.run(  # noqa: S603 - our own program
        [sys.executable, *command],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={**os.environ, "COLUMNS": "120", "NO_COLOR": "1", **env},
    )
    return done.returncode, done.stdout, done.stderr
