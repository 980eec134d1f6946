"""`sidecar ledger …`: verify, back up, restore, prune and compact a ledger; list its alerts."""

import json
from contextlib import closing
from dataclasses import asdict
from datetime import UTC
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.progress import Progress

from sidecar.cli.export import rows_of
from sidecar.cli.ledger_files import now_us, on_ledger
from sidecar.cli.options import Format, FormatOption, LedgerFile, fail
from sidecar.cli.tables import Table, cell, console, print_table
from sidecar.cli.terminal import say, say_json
from sidecar.domain.clock import DAY_US, check_start
from sidecar.domain.counted import counted
from sidecar.ledger import backup as keeping
from sidecar.ledger import chain, ledger_file
from sidecar.ledger.compaction import RoomNeeded
from sidecar.ledger.compaction import compact as compact_ledger
from sidecar.ledger.long_read import long_read
from sidecar.ledger.protocol import LedgerRefusedError
from sidecar.ledger.sqlite import SqliteLedger
from sidecar.ledger.verify import verify as verify_ledger
from sidecar.runtime.shared_flags import CONFIRM_CLOCK


def verify(
    ledger: LedgerFile,
    head: Annotated[
        str,
        typer.Option(
            metavar="HEX", help="A head of the log that was noted earlier: is it still there?"
        ),
    ] = "",
    output: FormatOption = Format.TEXT,
) -> None:
    """Recompute every budget, and every link of the log. Exit 1 if anything is wrong.

    Works while a sidecar uses the ledger, too: it ends itself, with exit 1, before its read costs
    the sidecar too much room on the disk. Prints the head of the log: note it down, and
    --head shows later whether the log was cut off before it.

    Example: sidecar ledger verify --ledger ledger.sqlite
    """
    noted = _hex(head)
    try:
        with (
            closing(ledger_file.open_reader(ledger)) as connection,
            long_read(connection, ledger),
        ):
            findings, counts = verify_ledger(connection)
            lost = bool(noted) and not chain.has_link(connection, noted)
            heads = {name: chain.head(connection, name).hex() for name in ("decisions", "denials")}
    except LedgerRefusedError as error:
        raise fail(error) from None
    if output is Format.JSON:
        listed = [asdict(finding) for finding in findings]
        say_json({
            "findings": listed, "counts": counts, "head": heads["decisions"],
            "head_of_denials": heads["denials"], "head_is_there": not lost,
        })  # fmt: skip
    else:
        for finding in findings:
            say(f"{finding.promise}: {finding.place}")
        if lost:
            say("the decision log was cut off: the head that was noted is not in it")
        names = {table: table.removesuffix("s").replace("_", " ") for table in counts}
        rows = ", ".join(counted(number, names[table]) for table, number in counts.items())
        verdict = counted(len(findings) + lost, "finding") if findings or lost else "clean"
        say(f"{ledger}: {rows}: {verdict}")
        say(f"head of denials {heads['denials']}")
        say(f"head of decisions {heads['decisions']}")
    if findings or lost:
        raise typer.Exit(1)


def backup(
    target: Annotated[Path, typer.Argument(metavar="FILE", help="The file to write.")],
    ledger: LedgerFile,
) -> None:
    """Copy a ledger as of one moment, also while a sidecar uses it, and verify the copy.

    It ends itself, with exit 1 and without a copy, before its read costs the sidecar too much room
    on the disk.

    Example: sidecar ledger backup ledger-2026-11-24.sqlite --ledger ledger.sqlite
    """
    with Progress(console=console(err=True), transient=True) as shown:
        task = shown.add_task("copying")
        try:
            size = keeping.back_up(
                ledger, target, lambda done, pages: shown.update(task, completed=done, total=pages)
            )
        except LedgerRefusedError as error:
            raise fail(error) from None
    say(f"{target}: {size:,} bytes, clean")


def restore(
    source: Annotated[Path, typer.Argument(metavar="FILE", help="A backup.")],
    ledger: LedgerFile,
) -> None:
    """Replace a ledger with a backup; the old file is kept. No sidecar may use the ledger.

    Calls decided since the backup are lost: what they spent no longer counts.

    Example: sidecar ledger restore ledger-2026-11-24.sqlite --ledger ledger.sqlite
    """
    try:
        before = keeping.restore(source, ledger)
    except LedgerRefusedError as error:
        raise fail(error) from None
    say(f"{ledger}: restored" + (f"; the old ledger is {before}" if before else ""))


def prune(
    ledger: LedgerFile,
    retention_days: Annotated[int, typer.Option(min=1, help="Keep younger decisions.")] = 35,
    confirm_clock: Annotated[str, typer.Option(metavar="YYYY-MM-DD", help=CONFIRM_CLOCK.help)] = "",
) -> None:
    """Delete old decisions, as a running sidecar does by itself.

    Budgets keep what they were charged. No sidecar may use the ledger.

    Example: sidecar ledger prune --ledger ledger.sqlite
    """

    async def work(opened: SqliteLedger) -> int:
        if problem := check_start(opened.latest_us, now_us(), confirm_clock):
            raise LedgerRefusedError(f"{ledger}: {problem}")
        pruned = 0
        while gone := await opened.prune(now_us(), retention_days * DAY_US):
            pruned += gone
        return pruned

    say(f"{ledger}: {counted(on_ledger(ledger, UTC, work), 'decision')} deleted")


def compact(ledger: LedgerFile) -> None:
    """Give the room of pruned decisions back to the disk. No sidecar may use the ledger.

    A running sidecar uses that room again. Compact where many decisions were pruned at once, as
    after a shorter retention; it says how much room it needs for its time.

    Example: sidecar ledger compact --ledger ledger.sqlite
    """

    def starting(needed: RoomNeeded) -> None:
        say(
            f"{ledger}: needs {needed.beside_bytes:,} bytes beside it, and"
            f" {needed.temporary_bytes:,} in {needed.folder}"
        )

    if not ledger.exists():
        raise fail(f"{ledger}: there is no such ledger")
    try:
        before_bytes, after_bytes = compact_ledger(ledger, starting)
    except LedgerRefusedError as error:
        raise fail(error) from None
    say(f"{ledger}: {after_bytes:,} bytes; before, {before_bytes:,}")


def alerts(ledger: LedgerFile, output: FormatOption = Format.TEXT) -> None:
    """List the alerts and their deliveries, the oldest first.

    Works while a sidecar uses the ledger, too.

    Example: sidecar ledger alerts --ledger ledger.sqlite
    """
    columns, rows = rows_of(ledger, "alert_log")
    listed = [dict(zip(columns, row, strict=True)) for row in rows]
    for alert in listed:
        alert["deliveries"] = json.loads(alert["deliveries"])
    if output is Format.JSON:
        say_json(listed)
        return
    table = Table("raised at (UTC)", "kind", "rule", "for", "window from (UTC)", "delivered")
    for alert in listed:
        percent = "" if alert["percent"] is None else f" {alert['percent']} %"
        table.add_row(
            alert["raised_at_utc"], f"{alert['kind']}{percent}", alert["rule"],
            alert["scope"], f"{alert['window']} {alert['from_utc']}",
            cell(*map(_delivery_text, alert["deliveries"])),
        )  # fmt: skip
    print_table(table)
    say(counted(len(listed), "alert"))


def _delivery_text(delivery: dict[str, Any]) -> str:
    channel, attempts = delivery["channel"], delivery["attempts"]
    if delivery["delivered_at_utc"]:
        note = f", {delivery['last_error']}" if delivery["last_error"] else ""
        return f"{channel} at {delivery['delivered_at_utc']}{note}"
    return f"{channel} not yet" + (f": {delivery['last_error']} ({attempts})" if attempts else "")


def _hex(head: str) -> bytes:
    try:
        return bytes.fromhex(head)
    except ValueError:
        raise fail(f"--head {head}: is not hexadecimal", 2) from None
