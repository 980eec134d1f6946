"""The log, when nobody reads it for a while."""

import subprocess
import sys

PROGRAM = """
import logging, sys
from sidecar import logs
logs.LINES_AT_MOST = 10
with logs.to_standard_error():
    for number in range(3000):
        logging.getLogger("test").info("line %d %s", number, "x" * 100)
    print("written", flush=True)
    sys.stdin.readline()
    logging.getLogger("test").info("the last line")
"""


def test_lines_that_nobody_reads_in_time_are_dropped_and_counted() -> None:
    """The program goes on, and the log says how many are missing once somebody reads."""
    process = subprocess.Popen(  # noqa: S603 - our own program
        [sys.executable, "-c", PROGRAM],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    with process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline() == "written\n"  # though the pipe is full
        seen = dropped = 0
        while seen + dropped < 3000:  # every line was written or counted
            line = process.stderr.readline()
            if "lines of the log were dropped" in line:
                dropped += int(line.split()[1])
            else:
                seen += 1
        assert dropped > 1000
        _, rest = process.communicate("\n")
        assert "the last line" in rest
