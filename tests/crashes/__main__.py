"""The command of the crash tests: kills a sidecar N times under load, and prints the faults."""

import argparse
import sys
import tempfile
from collections import Counter
from contextlib import closing
from pathlib import Path

from rich.progress import Progress
from rich.table import Table

from crashes.books import DOUBLE, MISSING, OTHER
from crashes.siege import Siege
from sidecar.cli.tables import console

MAX_SHOWN = 20


def main() -> int:
    """Run; return the exit code."""
    parser = argparse.ArgumentParser(prog="crashes", description=__doc__)
    parser.add_argument("--kills", type=int, default=300, help="how often to kill")
    parser.add_argument("--seed", type=int, default=1, help="draws the moments")
    options = parser.parse_args()
    kills = 0
    with (
        tempfile.TemporaryDirectory() as folder,
        closing(Siege(Path(folder), options.seed)) as siege,
        Progress(console=console()) as progress,
    ):
        task = progress.add_task("kill -9", total=options.kills)
        for kills in siege.run(options.kills):
            progress.update(task, completed=kills)
    _show(siege, kills)
    return 1 if siege.faults else 0


def _show(siege: Siege, kills: int) -> None:
    calls = siege.crowd.calls
    kinds = Counter(fault.kind for fault in siege.faults)
    columns = {
        "kills": kills,
        "more at start": siege.killed_starting,
        "answered": sum(call.answer is not None for call in calls),
        "allowed": sum(call.allowed for call in calls),
        "settled or released": sum(call.charged is not None for call in calls),
        "asked again": siege.crowd.asked_again,
        "repeated": siege.repeated,
        "missing": kinds[MISSING],
        "double": kinds[DOUBLE],
        "other faults": kinds[OTHER],
    }
    table = Table(title="kill -9 under load, on one ledger", title_justify="left")
    for heading in columns:
        table.add_column(heading, justify="right")
    table.add_row(*(f"{number:,}" for number in columns.values()))
    console().print(table)
    for fault in siege.faults[:MAX_SHOWN]:
        console().print(f"{fault.kind}: {fault.text}", markup=False)


sys.exit(main())
