"""The command of the rotations' crash tests: prints a table, and fails on any loss."""

import sys

from rich.table import Table

from rotations.deaths import all_deaths
from sidecar.cli.tables import console


def main() -> int:
    """Crash at every point; return 1 if a key was lost, left over or not recorded."""
    table = Table(title="kill -9 of a rotation, and what was left", title_justify="left")
    for heading in (
        "dies",
        "ledger says",
        "keys live",
        "app has",
        "then",
        "runs",
        "ends",
        "most live",
        "faults",
    ):
        table.add_column(heading)
    faults = number = 0
    for seen in all_deaths():
        faults, number = faults + len(seen.faults), number + 1
        table.add_row(
            str(seen.death), seen.stage, str(seen.live), seen.app, seen.then, str(seen.runs),
            seen.end, str(seen.most_live), "\n".join(seen.faults) or "none",
        )  # fmt: skip
    console().print(table)
    console().print(f"{number} deaths, {faults} faults")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
