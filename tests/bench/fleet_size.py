"""How large a fleet's tables become: `python -m bench.fleet_size`.

A simulated month of principals with a daily limit each, which call at every sidecar. Shares are
written by real exchanges, and spend by the reports of a ledger that is filled as after a month, on a
real PostgreSQL. Then the books are pruned. A table keeps the room of what was deleted for new rows;
the sizes after it are those of the rows that are left (VACUUM FULL).
"""

import argparse
import tempfile
import time
from collections.abc import Sequence
from datetime import UTC
from pathlib import Path

from fleet.places import FleetHolder, PostgresPlace
from fleet.postgres_server import OWNER, PostgresServer
from support.policies import shipped
from support.tools import MissingError

from bench import filled_ledger
from bench.benchmark import progress
from sidecar.cli.tables import Table, print_table
from sidecar.cli.terminal import say
from sidecar.domain.decisions import Meter
from sidecar.domain.sharing import BudgetKey
from sidecar.domain.windows import DAY_US, Window
from sidecar.fleet import prune
from sidecar.fleet.connection import BooksConnection
from sidecar.fleet.spend import SpendReporter
from sidecar.fleet.spend_report import FleetTime
from sidecar.ledger.shares import Holder

TABLES = ("fleet_budget", "fleet_share", "fleet_spend", "fleet_holder")
AT_ONCE = 500
"""Budgets in one exchange."""
KEPT_DAYS = 7
CALLS_A_DAY = 3_000
"""Of the ledger that all holders report."""


def main() -> int:
    """Fill the books, prune them, and print how large the tables are."""
    parser = argparse.ArgumentParser("bench.fleet_size", description=__doc__)
    parser.add_argument("--days", type=int, default=filled_ledger.DAYS)
    parser.add_argument("--principals", type=int, default=filled_ledger.PRINCIPALS)
    parser.add_argument("--holders", type=int, default=5)
    options = parser.parse_args()
    try:
        run(options.days, options.principals, options.holders)
    except MissingError as error:
        say(f"bench: {error}", err=True)
        return 1
    return 0


def run(days: int, principals: int, holders: int) -> None:
    """Measure on a server of its own. Raises MissingError."""
    server = PostgresServer()
    try:
        with tempfile.TemporaryDirectory() as folder:
            place = PostgresPlace(server, Path(folder) / "url")
            try:
                measure(place, Path(folder), days, principals, holders)
            finally:
                place.close()
    finally:
        server.remove()


def measure(place: PostgresPlace, folder: Path, days: int, principals: int, holders: int) -> None:
    """Fill the books, and measure them before and after they are pruned."""
    ledger = folder / "ledger.sqlite"
    filled_ledger.fill(ledger, shipped(folder / "policies"), CALLS_A_DAY * days)
    now_us = place.now_us()
    with progress() as shown:
        task = shown.add_task("holders", total=holders)
        for _ in range(holders):
            holder = FleetHolder(place)
            share_month(place, holder, now_us, days, principals)
            report(place, holder, ledger, now_us)
            shown.advance(task)
    before = sizes(place)
    owner = folder / "owner.url"
    owner.write_text(place.server.url(place.database, OWNER))
    before_us = prune.first_kept_us(FleetTime(now_us, "UTC"), KEPT_DAYS)
    began = time.perf_counter()
    place.run(prune.prune(owner, before_us))
    took_seconds = time.perf_counter() - began
    place.sql("VACUUM FULL")
    show(before, sizes(place), f"{principals:,} principals with a daily limit, {holders} sidecars")
    say(
        f"{days} days, and {KEPT_DAYS} after `sidecar fleet prune`, which took {took_seconds:.1f} s"
    )


def share_month(
    place: PostgresPlace, holder: FleetHolder, now_us: int, days: int, principals: int
) -> None:
    """Let a holder have a share of each principal's budget of each day, twice changed."""
    today_us = now_us - now_us % DAY_US
    for day_us in range(today_us - (days - 1) * DAY_US, today_us + 1, DAY_US):
        keys = [
            BudgetKey("daily-tokens", Meter.TOKENS, Window.DAY, f"user-{n}@example.com", day_us)
            for n in range(principals)
        ]
        for start in range(0, principals, AT_ONCE):
            for spent in (1_000, 2_000):
                items = [
                    holder.item(key=key, spent=spent, end_us=day_us + DAY_US, ceiling=100_000)
                    for key in keys[start : start + AT_ONCE]
                ]
                place.run(holder.send(holder.says(*items)))


def report(place: PostgresPlace, holder: FleetHolder, ledger: Path, now_us: int) -> None:
    """Report the ledger's spend as the holder's."""
    connection = BooksConnection(place.url_file)
    as_holder = Holder(holder.uid, "", holder.boot, holder.version, holder.timeline)
    reporter = SpendReporter(connection, ledger, as_holder, UTC, lambda: now_us)
    try:
        place.run(reporter.report())
    finally:
        connection.close()


def sizes(place: PostgresPlace) -> list[tuple[int, int]]:
    """Return the rows and bytes of each table, with its index."""
    found = []
    for table in TABLES:
        [row] = place.sql(
            f"SELECT count(*) AS rows, pg_total_relation_size('{table}') AS bytes FROM {table}"
        )
        found.append((row["rows"], row["bytes"]))
    return found


def show(before: Sequence[tuple[int, int]], after: Sequence[tuple[int, int]], title: str) -> None:
    """Print the sizes."""
    table = Table("table", title=title)
    for heading in ("rows", "MB", "bytes a row", "rows after", "MB after"):
        table.add_column(heading, justify="right")
    total = [(sum(column) for column in zip(*one, strict=True)) for one in (before, after)]
    for name, old, new in zip(
        (*TABLES, "all"), (*before, (*total[0],)), (*after, (*total[1],)), strict=True
    ):
        rows, size = old
        table.add_row(
            name, f"{rows:,}", f"{size / 1e6:.1f}", f"{size // max(1, rows):,}",
            f"{new[0]:,}", f"{new[1] / 1e6:.1f}",
        )  # fmt: skip
    print_table(table)


if __name__ == "__main__":
    raise SystemExit(main())
