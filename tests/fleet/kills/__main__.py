"""The command of the kill tests: kills sidecars and PostgreSQL, and prints what came of it."""

import argparse
import sys
import tempfile
import time
from pathlib import Path

from fleet.kills.checks import charged
from fleet.kills.kill_run import KillRun, Plan
from rich.progress import Progress
from rich.table import Table
from support.tools import MissingError

from sidecar.cli.tables import console

MAX_SHOWN = 20


def main() -> int:
    """Run the kills; return 1 if there are faults, 2 if PostgreSQL is missing."""
    parser = argparse.ArgumentParser(prog="fleet.kills", description=__doc__)
    parser.add_argument("--pods", type=int, default=200, help="how often to kill a sidecar")
    parser.add_argument("--servers", type=int, default=20, help="how often to kill PostgreSQL")
    parser.add_argument("--sidecars", type=int, default=5, help="how many serve at a time")
    parser.add_argument("--ceiling-usd", type=float, default=4.0, help="of each budget")
    parser.add_argument("--seed", type=int, default=1, help="determines what happens, and when")
    parser.add_argument("--pooler", action="store_true", help="put PgBouncer before PostgreSQL")
    options = parser.parse_args()
    plan = Plan(**vars(options))
    with tempfile.TemporaryDirectory() as folder:
        try:
            kill_run = KillRun(plan, Path(folder))
        except MissingError as error:
            console().print(f"missing: {error}. On Debian: apt-get install postgresql pgbouncer")
            return 2
        began = time.monotonic()
        with Progress(console=console()) as progress:
            task = progress.add_task("kill -9", total=plan.pods)
            faults = kill_run.run(lambda kills: progress.update(task, completed=kills))
    show(kill_run, time.monotonic() - began)
    for fault in faults[:MAX_SHOWN]:
        console().print(fault, markup=False)
    return 1 if faults else 0


def show(kill_run: KillRun, seconds: float) -> None:
    """Print the table."""
    calls, ceiling = kill_run.calls, kill_run.plan.ceiling
    used_up = [one for one in charged(calls) if one.scope != kill_run.maker.budget]
    total = ceiling * len(used_up)
    spent = sum(one.used for one in used_up)
    overruns = sum(one.overruns for one in used_up)
    unanswered = sum(call.unanswered for call in calls)
    rows = {
        "sidecars killed": f"{kill_run.fates.kills:,}",
        "of these, ledgers lost": f"{kill_run.fates.lost:,}",
        "sidecars frozen": f"{kill_run.fates.freezes:,}",
        "PostgreSQL killed": f"{kill_run.server_kills:,}",
        "calls": f"{len(calls):,}",
        "allowed": f"{sum(call.allowed for call in calls):,}",
        "denied": f"{sum(call.denied for call in calls):,}",
        "answered UNAVAILABLE": f"{sum(call.unreachable for call in calls):,}",
        "not answered, by a kill": f"{unanswered:,}",
        "asked again, answered alike": f"{kill_run.repeated:,}",
        f"budgets of ${kill_run.plan.ceiling_usd:g} used up": f"{len(used_up):,}",
        "charged of them": _part(spent, total),
        "of this, overruns": _part(overruns, total),
        "stranded of them": _part(max(0, total + overruns - spent), total),
    }
    table = Table(title=f"A fleet under kill -9, {seconds:.0f} s", title_justify="left")
    table.add_column("what")
    table.add_column("how much", justify="right")
    for row in rows.items():
        table.add_row(*row)
    console().print(table)


def _part(amount: int, of: int) -> str:
    return f"{amount / of:.2%}" if of else "none"


if __name__ == "__main__":
    sys.exit(main())
