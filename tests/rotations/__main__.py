"""The command of the rotations' crash tests: prints a table, and fails on any loss."""

import sys

from rich.table import Table

from rotations.crashes import all_crashes
from sidecar.cli.tables import console


def main() -> int:
    """Crash at every point; return 1 if a key is lost, left over or not recorded."""
    table = Table(title="kill -9 of a rotation, and the state after it", title_justify="left")
    for heading in (
        "crash",
        "stage",
        "live keys",
        "app's key",
        "next command",
        "runs",
        "end",
        "most live keys",
        "faults",
    ):
        table.add_column(heading)
    faults = number = 0
    for result in all_crashes():
        faults, number = faults + len(result.faults), number + 1
        table.add_row(
            str(result.crash_point), result.stage, str(result.live), result.app, result.then, str(result.runs),
            result.end, str(result.most_live), "\n".join(result.faults) or "none",
        )  # fmt: skip
    console().print(table)
    console().print(f"{number} crashes, {faults} faults")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
