"""The command line, run as people and jobs run it."""

import os
import subprocess
import sys


def sidecar(*args: object, **env: str) -> tuple[int, str, str]:
    """Run a command; return exit code, standard output and standard error."""
    done = subprocess.run(  # noqa: S603 - our own program
        [sys.executable, "-m", "sidecar", *map(str, args)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={**os.environ, "COLUMNS": "120", "NO_COLOR": "1", **env},
    )
    return done.returncode, done.stdout, done.stderr
