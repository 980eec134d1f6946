"""`sidecar ledger …`: looking after a ledger's file."""

import asyncio
import json
import time
from collections.abc import Callable, Coroutine
from dataclasses import asdict
from datetime import UTC, tzinfo
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer
from rich.console import Console
from rich.progress import Progress
from rich.table import Table
from rich.text import Text

from sidecar.cli.export import export, rows_of, write_json
from sidecar.cli.options import Format, FormatOption, LedgerFile, TimeZoneOption, fail, zone_info
from sidecar.cli.tables import console
from sidecar.domain.amounts import format_amount
from sidecar.domain.clock import SECOND_US
from sidecar.domain.decisions import Meter
from sidecar.domain.money import nano_usd
from sidecar.ledger import chain, keeping, opening
from sidecar.ledger.protocol import LedgerRefusedError, LedgerUnavailableError, NotAdjustableError
from sidecar.ledger.sqlite import SqliteLedger
from sidecar.ledger.verify import verify as verify_ledger

app = typer.Typer(help="Look after a ledger's file.", no_args_is_help=True)
app.command("export")(export)

T = TypeVar("T")

Work = Callable[[SqliteLedger], Coroutine[Any, Any, T]]

DAY_US = 86_400 * SECOND_US


@app.callback()
def _group() -> None:
    """Look after a ledger's file."""


@app.command()
def verify(
    ledger: LedgerFile,
    head: Annotated[
        str,
        typer.Option(metavar="HEX", help="A head of the log that was noted earlier: is it there?"),
    ] = "",
    output: FormatOption = Format.TEXT,
) -> None:
    """Recompute every budget, and every link of the log. Exit 1 if anything does not add up.

    Works on a ledger in use, too. It prints the head of the log: whoever notes it down
    can tell later that nothing before it was cut off. Example:
    sidecar ledger verify --ledger ledger.sqlite
    """
    try:
        connection = opening.open_reader(ledger)
    except LedgerRefusedError as error:
        raise fail(error) from None
    findings, counts = verify_ledger(connection)
    lost = bool(head) and not chain.has_link(connection, _hex(head))
    latest = chain.head(connection).hex()
    if output is Format.JSON:
        listed = [asdict(finding) for finding in findings]
        report = {"findings": listed, "counts": counts, "head": latest, "head_is_there": not lost}
        typer.echo(json.dumps(report, indent=2))
    else:
        for finding in findings:
            typer.echo(f"{finding.promise}: {finding.place}")
        if lost:
            typer.echo("the decision log was cut off: the head that was noted is not in it")
        counted = ", ".join(f"{number} {table}" for table, number in counts.items())
        verdict = f"{len(findings) + lost} findings" if findings or lost else "clean"
        typer.echo(f"{ledger}: {counted}: {verdict}")
        typer.echo(f"head {latest}")
    if findings or lost:
        raise typer.Exit(1)


@app.command()
def backup(
    target: Annotated[Path, typer.Argument(metavar="FILE", help="Where the copy goes.")],
    ledger: LedgerFile,
) -> None:
    """Copy a ledger, in use or not, as it is at one moment, and verify the copy.

    Example: sidecar ledger backup ledger-2026-11-24.sqlite --ledger ledger.sqlite
    """
    with Progress(console=Console(stderr=True), transient=True) as shown:
        task = shown.add_task("copying")
        try:
            size = keeping.back_up(
                ledger, target, lambda done, pages: shown.update(task, completed=done, total=pages)
            )
        except LedgerRefusedError as error:
            raise fail(error) from None
    typer.echo(f"{target}: {size:,} bytes, clean")


@app.command()
def restore(
    source: Annotated[Path, typer.Argument(metavar="FILE", help="A backup.")],
    ledger: LedgerFile,
) -> None:
    """Put a backup in the place of a ledger that no sidecar uses; the old one is kept.

    Calls decided since the backup are forgotten: what they spent counts no more. Example:
    sidecar ledger restore ledger-2026-11-24.sqlite --ledger ledger.sqlite
    """
    try:
        before = keeping.restore(source, ledger)
    except LedgerRefusedError as error:
        raise fail(error) from None
    typer.echo(f"{ledger}: restored" + (f"; what was there is {before}" if before else ""))


@app.command()
def prune(
    ledger: LedgerFile,
    retention_days: Annotated[int, typer.Option(min=1, help="What is younger stays.")] = 35,
) -> None:
    """Forget what is older and in no open window, as a running sidecar does by itself.

    No sidecar may use the ledger. Example: sidecar ledger prune --ledger ledger.sqlite
    """

    async def work(opened: SqliteLedger) -> int:
        pruned = 0
        while gone := await opened.prune(_now_us(), retention_days * DAY_US):
            pruned += gone
        return pruned

    typer.echo(f"{ledger}: {_on_ledger(ledger, UTC, work):,} decisions forgotten")


@app.command()
def holds(ledger: LedgerFile, output: FormatOption = Format.TEXT) -> None:
    """List the holds that are open: calls that went out and are not settled yet.

    Works on a ledger in use, too. Example: sidecar ledger holds --ledger ledger.sqlite
    """
    columns, rows = rows_of(ledger, "open_holds")
    if output is Format.JSON:
        write_json(columns, rows)
        return
    table = Table()
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*map(str, row))
    console().print(table, markup=False)
    typer.echo(f"{table.row_count} open holds")


@app.command()
def alerts(ledger: LedgerFile, output: FormatOption = Format.TEXT) -> None:
    """List what was to be told, and how telling went, the oldest first.

    Works on a ledger in use, too. Example: sidecar ledger alerts --ledger ledger.sqlite
    """
    columns, rows = rows_of(ledger, "alert_log")
    listed = [dict(zip(columns, row, strict=True)) for row in rows]
    for alert in listed:
        alert["deliveries"] = json.loads(alert["deliveries"])
    if output is Format.JSON:
        typer.echo(json.dumps(listed, indent=2, ensure_ascii=False))
        return
    table = Table()
    for heading in ("raised at (UTC)", "kind", "rule", "for", "window from (UTC)", "told"):
        table.add_column(heading, overflow="fold")
    for alert in listed:
        percent = "" if alert["percent"] is None else f" {alert['percent']} %"
        told = "\n".join(map(_told, alert["deliveries"]))
        table.add_row(
            alert["raised_at_utc"], f"{alert['kind']}{percent}", Text(alert["rule"]),
            Text(alert["scope"]), f"{alert['window']} {alert['from_utc']}", Text(told),
        )  # fmt: skip
    console().print(table)
    typer.echo(f"{len(listed)} alerts")


def _told(delivery: dict[str, Any]) -> str:
    channel, attempts = delivery["channel"], delivery["attempts"]
    if delivery["delivered_at_utc"]:
        return f"{channel} at {delivery['delivered_at_utc']}"
    return f"{channel} not yet" + (f": {delivery['last_error']} ({attempts})" if attempts else "")


@app.command()
def adjust(
    ledger: LedgerFile,
    rule: Annotated[str, typer.Option(help="The limit's id.")],
    scope: Annotated[str, typer.Option(help="Whom it counts for, as in `sidecar budgets`.")],
    amount: Annotated[
        str,
        typer.Option(
            help="Tokens, requests or USD that count as spent in the current window; a negative"
            " amount gives room, as in --amount=-5.50."
        ),
    ],
    signed_by: Annotated[str, typer.Option("--signed-by", help="Who answers for it.")],
    reason: Annotated[str, typer.Option(help="Why, for whoever reads the books.")],
    time_zone: TimeZoneOption = "UTC",
) -> None:
    """Correct a budget, or grant it more once: a row of its own, never an edit.

    No sidecar may use the ledger meanwhile. Example: sidecar ledger adjust
    --ledger ledger.sqlite --rule workspace-monthly-budget --scope ml-workspace
    --amount=-25 --signed-by ada@example.com --reason "the demo on Friday"
    """
    columns, rows = rows_of(ledger, "budgets")
    meters = {row[columns.index("rule")]: row[columns.index("meter")] for row in rows}
    if rule not in meters:
        raise fail(f"no call has counted on a limit named {rule}")
    units = _units(amount, Meter(meters[rule]))

    async def work(opened: SqliteLedger) -> str:
        budget = await opened.adjust(rule, scope, units, signed_by, reason, _now_us())
        left = format_amount(budget.meter, budget.remaining)
        ceiling = "no ceiling yet" if budget.ceiling is None else f"{left} left"
        return f"{rule} of {scope}: {format_amount(budget.meter, budget.spent)} spent, {ceiling}"

    typer.echo(_on_ledger(ledger, zone_info(time_zone), work))


def _on_ledger(
    path: Path, zone: tzinfo, work: Callable[[SqliteLedger], Coroutine[Any, Any, T]]
) -> T:
    """Open a ledger that no sidecar uses, do the work on it, and close it."""

    async def run() -> T:
        opened = SqliteLedger(path, zone)
        try:
            return await work(opened)
        finally:
            await opened.close()

    if not path.exists():
        raise fail(f"{path}: there is no such ledger")
    try:
        return asyncio.run(run())
    except (LedgerRefusedError, LedgerUnavailableError, NotAdjustableError) as error:
        raise fail(error) from None


def _units(amount: str, meter: Meter) -> int:
    try:
        exact = Decimal(amount)
        units = nano_usd(exact) if meter is Meter.COST else int(exact)
    except (InvalidOperation, ValueError, OverflowError):
        raise fail(f"--amount {amount}: is no number", 2) from None
    if abs(units) >= 10**18 or (meter is not Meter.COST and units != exact):
        raise fail(f"--amount {amount}: is no number of {meter.value} that can be counted", 2)
    return units


def _hex(head: str) -> bytes:
    try:
        return bytes.fromhex(head)
    except ValueError:
        raise fail(f"--head {head}: is not hexadecimal", 2) from None


def _now_us() -> int:
    return time.time_ns() // 1000
