"""The command of the crash tests: kills a sidecar N times under load, and prints the faults."""

import argparse
import sys
import tempfile
from collections import Counter
from contextlib import closing
from pathlib import Path

from rich.progress import Progress
from rich.table import Table

from crashes.comparison import DOUBLE, MISSING, OTHER
from crashes.crash_run import CrashRun
from sidecar.cli.tables import console

MAX_SHOWN = 20


def main() -> int:
    """Run the crashes; return 1 if there are faults."""
    parser = argparse.ArgumentParser(prog="crashes", description=__doc__)
    parser.add_argument("--kills", type=int, default=300, help="how often to kill")
    parser.add_argument("--seed", type=int, default=1, help="determines the moments of the kills")
    options = parser.parse_args()
    kills = 0
    with (
        tempfile.TemporaryDirectory() as folder,
        closing(CrashRun(Path(folder), options.seed)) as crash_run,
        Progress(console=console()) as progress,
    ):
        task = progress.add_task("kill -9", total=options.kills)
        for kills in crash_run.run(options.kills):
            progress.update(task, completed=kills)
    _show(crash_run, kills)
    return 1 if crash_run.faults else 0


def _show(crash_run: CrashRun, kills: int) -> None:
    calls = crash_run.clients.calls
    kinds = Counter(fault.kind for fault in crash_run.faults)
    columns = {
        "kills": kills,
        "kills at start": crash_run.killed_starting,
        "answered": sum(call.answer is not None for call in calls),
        "allowed": sum(call.allowed for call in calls),
        "settled or released": sum(call.charged is not None for call in calls),
        "repeated, unanswered": crash_run.clients.repeated_unanswered,
        "repeated, answered": crash_run.repeated,
        "missing": kinds[MISSING],
        "double": kinds[DOUBLE],
        "other faults": kinds[OTHER],
    }
    table = Table(title="kill -9 under load, on one ledger", title_justify="left")
    for heading in columns:
        table.add_column(heading, justify="right")
    table.add_row(*(f"{number:,}" for number in columns.values()))
    console().print(table)
    for fault in crash_run.faults[:MAX_SHOWN]:
        console().print(f"{fault.kind}: {fault.text}", markup=False)


sys.exit(main())
