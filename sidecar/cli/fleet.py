"""`sidecar fleet …`: make a fleet's books, adjust a budget in them, give a ledger a new place."""

from typing import Annotated

import typer

from sidecar.cli.fleet_books import (
    FleetUrlFile,
    SignedBy,
    Why,
    ask_books,
    check_signature,
    need_driver,
)
from sidecar.cli.options import LedgerFile, TimeZoneOption, fail, zone_info
from sidecar.cli.terminal import say, say_all
from sidecar.domain.amounts import format_amount, parse_amount
from sidecar.domain.counted import counted
from sidecar.ledger.protocol import LedgerRefusedError


def init(
    fleet_url_file: FleetUrlFile,
    time_zone: TimeZoneOption = "UTC",
    grant_to: Annotated[
        str,
        typer.Option(metavar="ROLE", help="Give this role, the pods', the rights of a sidecar."),
    ] = "",
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print the statements, and change nothing.")
    ] = False,
) -> None:
    """Make the tables of a fleet's books, or upgrade them. May be repeated.

    The URL is of a role that may make tables. The time zone is that of all sidecars of the fleet,
    and cannot be changed later.

    Example: sidecar fleet init --fleet-url-file owner.url --grant-to sidecar
    """
    zone_info(time_zone)
    need_driver()
    from sidecar.fleet import operations  # noqa: PLC0415 - needs the driver

    if dry_run:
        planned = operations.planned(fleet_url_file, time_zone, grant_to)
        for statement in ask_books(fleet_url_file, planned):
            say_all(f"{statement};")
        return
    made = ask_books(fleet_url_file, operations.init(fleet_url_file, time_zone, grant_to))
    if made.before == made.now:
        done = f"has its tables already, of version {made.now}"
    elif made.before:
        done = f"its tables of version {made.before} now have version {made.now}"
    else:
        done = f"its tables were made, of version {made.now}"
    say(f"fleet {made.fleet_id}: {done}")
    if grant_to:
        say(f"{grant_to}: has the rights of a sidecar")


def adjust(
    fleet_url_file: FleetUrlFile,
    rule: Annotated[str, typer.Option(help="The limit's id.")],
    scope: Annotated[
        str, typer.Option(help="The scope of the budget, as in `sidecar fleet status`.")
    ],
    amount: Annotated[
        str,
        typer.Option(
            help="Tokens, requests or USD to add to what is spent in the current window; a"
            " negative amount gives more room, as in --amount=-5.50."
        ),
    ],
    signed_by: SignedBy,
    reason: Why,
) -> None:
    """Correct what a budget of the fleet has spent, or grant more once. The books get a row for it.

    The URL is of the role that made the tables. What sidecars have in their shares already stays
    theirs. After a timeout, see `sidecar fleet status --format json` before you repeat it.

    Example: sidecar fleet adjust
    --fleet-url-file owner.url --rule workspace-monthly-budget --scope ml-workspace
    --amount=-25 --signed-by ada@example.com --reason "the demo on Friday"
    """
    check_signature(signed_by, reason)
    need_driver()
    from sidecar.fleet import operations  # noqa: PLC0415 - needs the driver

    budget = ask_books(fleet_url_file, operations.open_budget(fleet_url_file, rule, scope))
    try:
        units = parse_amount(budget.meter, amount)
    except ValueError as error:
        raise fail(f"--amount {amount}: {error}", 2) from None
    adjusted = ask_books(
        fleet_url_file, operations.adjust(fleet_url_file, budget, units, signed_by, reason)
    )
    left = adjusted.room + adjusted.free
    say(
        f"{rule} of {scope}: {format_amount(adjusted.meter, adjusted.spent)} spent,"
        f" {format_amount(adjusted.meter, left)} left"
    )


def leave(ledger: LedgerFile) -> None:
    """Take a ledger out of its fleet: its sidecar's budgets are its own from then on, and whole.

    No sidecar may use the ledger. What it has spent stays in the fleet's books, and counts in the
    windows that are open there.

    Example: sidecar fleet leave --ledger ledger.sqlite
    """
    from sidecar.ledger import place_in_fleet  # noqa: PLC0415 - slow to load, as SQLite's tools are

    if not ledger.exists():
        raise fail(f"{ledger}: there is no such ledger")
    try:
        old = place_in_fleet.leave(ledger)
    except LedgerRefusedError as error:
        raise fail(error) from None
    say(
        f"{ledger}: is in no fleet any more",
        "if its sidecar was not stopped in order, sign what it had not given back:",
        f"  sidecar fleet forget {old.uid} --fleet-url-file owner.url --spent RULE=AMOUNT"
        " --by WHO --reason WHY",
    )


def rejoin(ledger: LedgerFile) -> None:
    """Give a ledger that was restored from a backup a new place in its fleet.

    The fleet's books know more of it than it does, so they refuse it. No sidecar may use the
    ledger. Its shares are dropped; the books keep those of the old place until an operator signs
    what was spent of them, or their windows end.

    Example: sidecar fleet rejoin --ledger ledger.sqlite
    """
    from sidecar.ledger import place_in_fleet  # noqa: PLC0415 - slow to load, as SQLite's tools are

    if not ledger.exists():
        raise fail(f"{ledger}: there is no such ledger")
    try:
        done = place_in_fleet.rejoin(ledger)
    except LedgerRefusedError as error:
        raise fail(error) from None
    say(
        f"{ledger}: is holder {done.new_uid} from now on, without the"
        f" {counted(done.shares, 'share')} that it had",
        f"the old holder, {done.old_uid}, keeps its shares in the books, where they count as spent."
        " Start the sidecar, so that the books learn what this ledger has spent itself; then sign"
        " what the old one spent that this ledger does not know of:",
        f"  sidecar fleet forget {done.old_uid} --fleet-url-file owner.url --spent RULE=AMOUNT"
        " --by WHO --reason WHY",
    )
