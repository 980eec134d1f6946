"""`sidecar fleet status`: the holders of a fleet, and the budgets that they share."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from sidecar.cli.fleet_books import FleetUrlFile, ask_books, need_driver
from sidecar.cli.options import Format, FormatOption
from sidecar.cli.tables import Table, cell, print_table
from sidecar.cli.terminal import say, say_json
from sidecar.domain.amounts import short_amount
from sidecar.domain.clock import SECOND_US, format_length, to_datetime
from sidecar.domain.counted import counted
from sidecar.domain.windows import Window

if TYPE_CHECKING:
    from sidecar.fleet.status import BudgetStatus, FleetStatus, HolderStatus

MAX_ROWS = 10_000
_YEAR_9999_US = 253_370_764_800 * SECOND_US
"""Later times have no date."""


def status(
    fleet_url_file: FleetUrlFile,
    limit: Annotated[
        int, typer.Option(min=1, max=MAX_ROWS, help="How many holders and budgets to show.")
    ] = 20,
    output: FormatOption = Format.TEXT,
) -> None:
    """Show the holders of a fleet, and of each budget in its current window what they have.

    A holder is the ledger of one sidecar: live if it was heard of in the last minute, stopped if
    it stopped in order, silent, or forgotten.

    Of each budget, ceiling = spent + held + free in shares + stranded + room. What is held is for
    calls that are not settled yet; what is free in shares, live holders keep for their next calls;
    room is in nobody's share. What is stranded is in shares of silent holders, which have not
    reported it as used. It counts as spent until its window ends, or until `sidecar fleet forget`
    says what was spent.

    In JSON, amounts are whole requests, tokens or nano-USD, as the meter says.

    Example: sidecar fleet status --fleet-url-file fleet.url
    """
    need_driver()
    from sidecar.fleet import operations  # noqa: PLC0415 - needs the driver

    found = ask_books(fleet_url_file, operations.status(fleet_url_file, limit))
    if output is Format.JSON:
        say_json(_as_json(found))
        return
    say(
        f"fleet {found.fleet_id}: {counted(found.live, 'live holder')} of {found.all_holders:,};"
        f" tables of version {found.version}, time zone {found.time_zone},"
        f" timeline {found.timeline or 'unknown'}"
    )
    if found.is_learning:
        rest = format_length(found.recover_until_us - found.now_us)
        say(f"its books lost commits, and gather what all holders have: no grants for {rest}")
    if not found.holders:
        say("no sidecar has joined it yet: start them with --fleet-url-file")
        return
    print_table(_holder_table(found))
    if found.budgets:
        print_table(_budget_table(found))
    else:
        say("no budget is in use: no call has been counted in a window that is open")
    more = {
        "more holder": found.all_holders - len(found.holders),
        "more budget": found.all_budgets - len(found.budgets),
    }
    left_out = [counted(number, name) for name, number in more.items() if number > 0]
    if left_out:
        say(f"{' and '.join(left_out)}: --limit shows more")


def _holder_table(found: "FleetStatus") -> Table:
    table = Table("pod", "holder", title="Holders")
    for heading in ("seen", "state", "starts", "exchanges", "stranded in"):
        table.add_column(heading, justify="right", no_wrap=True)
    for holder in found.holders:
        stranded = counted(holder.stranded, "budget") if holder.stranded else ""
        seen = f"{format_length(max(0, found.now_us - holder.seen_us))} ago"
        table.add_row(
            holder.name, holder.uid, seen, _state(holder), f"{holder.boot:,}",
            f"{holder.version:,}", cell(stranded, style="bold red"),
        )  # fmt: skip
    return table


def _budget_table(found: "FleetStatus") -> Table:
    table = Table("limit", "for", title="Budgets, as they are now")
    for heading in ("ceiling", "spent", "held", "free in shares", "stranded", "room"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("until (UTC)", no_wrap=True)
    for budget in found.budgets:
        amounts = (
            budget.ceiling, budget.spent, budget.held, budget.free, budget.stranded, budget.room
        )  # fmt: skip
        cells = [cell(short_amount(budget.meter, amount)) for amount in amounts]
        if budget.stranded:
            cells[4].stylize("bold red")
        table.add_row(budget.rule, budget.scope, *cells, _until(budget))
    return table


def _state(holder: "HolderStatus") -> str:
    if holder.forgotten_us:
        return "forgotten"
    if holder.is_stopped:
        return "stopped"
    return "live" if holder.is_live else "silent"


def _until(budget: "BudgetStatus") -> str:
    match budget.window:
        case Window.CONCURRENT:
            return "open holds"
        case Window.MINUTE:
            return "any 60 seconds"
    until = _iso(budget.end_us)
    return "never" if until is None else until[:16].replace("T", " ")


def _as_json(found: "FleetStatus") -> dict[str, Any]:
    """Return the status for programs: money in nano-USD, times in ISO 8601."""
    return {
        "fleet_id": found.fleet_id,
        "version": found.version,
        "time_zone": found.time_zone,
        "timeline": found.timeline or None,
        "at": _iso(found.now_us),
        "learning_until": _iso(found.recover_until_us) if found.is_learning else None,
        "live_holders": found.live,
        "holders": [
            {
                "uid": holder.uid,
                "name": holder.name,
                "state": _state(holder),
                "seen_at": _iso(holder.seen_us),
                "seen_seconds_ago": max(0, found.now_us - holder.seen_us) / SECOND_US,
                "starts": holder.boot,
                "version": holder.version,
                "forgotten_at": _iso(holder.forgotten_us) if holder.forgotten_us else None,
                "stranded_in_budgets": holder.stranded,
            }
            for holder in found.holders
        ],
        "more_holders": found.all_holders - len(found.holders),
        "budgets": [_budget(budget) for budget in found.budgets],
        "more_budgets": found.all_budgets - len(found.budgets),
    }


def _budget(budget: "BudgetStatus") -> dict[str, Any]:
    return {
        "rule": budget.rule,
        "scope": budget.scope,
        "meter": budget.meter,
        "window": budget.window,
        "window_start": _iso(budget.start_us) if budget.start_us else None,
        "window_end": _iso(budget.end_us),
        "ceiling": budget.ceiling,
        "spent": budget.spent,
        "adjusted": budget.adjusted,
        "held": budget.held,
        "free_in_shares": budget.free,
        "stranded": budget.stranded,
        "room": budget.room,
        "holders": budget.holders,
    }


def _iso(at_us: int) -> str | None:
    """Return a time for JSON; None for one that never comes."""
    return to_datetime(at_us).isoformat() if 0 <= at_us < _YEAR_9999_US else None
