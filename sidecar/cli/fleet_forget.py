"""`sidecar fleet forget`: an operator signs what a vanished holder has spent."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from sidecar.cli.fleet_books import (
    FleetUrlFile,
    SignedBy,
    Why,
    ask_books,
    check_signature,
    need_driver,
)
from sidecar.cli.options import fail
from sidecar.cli.tables import Table, print_table
from sidecar.cli.terminal import confirms, say
from sidecar.domain.amounts import format_number, parse_amount
from sidecar.domain.clock import format_length
from sidecar.domain.counted import counted

if TYPE_CHECKING:
    from sidecar.fleet.orphans import Orphan, OrphanShare

MAX_SHOWN = 50


def forget(
    uid: Annotated[
        str, typer.Argument(metavar="UID", help="The holder, whole, as in `sidecar fleet status`.")
    ],
    fleet_url_file: FleetUrlFile,
    signed_by: SignedBy,
    reason: Why,
    spent: Annotated[
        list[str] | None,
        typer.Option(
            metavar="RULE=AMOUNT",
            help="What it spent of a limit in the current window: tokens, requests or USD."
            " RULE:SCOPE=AMOUNT if it has shares for several scopes. Repeatable; what is not named"
            " counts as spent whole.",
        ),
    ] = None,
    all_spent: Annotated[
        bool, typer.Option("--all-spent", help="It spent all of its shares.")
    ] = False,
    nothing_spent: Annotated[
        bool,
        typer.Option(
            "--nothing-spent",
            help="It spent nothing but what it had reported, with the calls that were open then.",
        ),
    ] = False,
    force: Annotated[
        bool,
        typer.Option("--force", help="Also a holder that was heard of in the last two minutes."),
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do it without a question.")] = False,
) -> None:
    """Sign what a vanished holder has spent, so that others get the rest of its shares.

    Without this, all of them count as spent until their windows end. The URL is of the role that
    made the tables. It shows what will change, and asks before it does. The books keep a signed
    row of each share, and never answer that holder again: should its ledger come back,
    give it a new place with `sidecar fleet rejoin`.

    Example: sidecar fleet forget 7a6d320dbf20eec6bfbf03e0d306a453 --fleet-url-file owner.url
    --spent workspace-monthly-budget=12.50 --by ada@example.com --reason "its node was lost at
    12:10; by the provider's bill"
    """
    check_signature(signed_by, reason)
    if sum((bool(spent), all_spent, nothing_spent)) != 1:
        raise fail("give one of --spent RULE=AMOUNT, --all-spent and --nothing-spent", 2)
    need_driver()
    from sidecar.fleet import orphans  # noqa: PLC0415 - needs the driver

    orphan = ask_books(fleet_url_file, orphans.find(fleet_url_file, uid))
    seen = format_length(max(0, orphan.now_us - orphan.seen_us))
    if not force:
        _check_gone(orphan, seen)
    if not orphan.shares and orphan.forgotten_us:
        say(f"{uid}: has no share of a window that is open: nothing is stranded")
        return
    try:
        amounts = _amounts(orphan.shares, spent or (), nothing_spent=nothing_spent)
    except ValueError as error:
        raise fail(error, 2) from None
    say(f"holder {uid}, {orphan.name}: heard of {seen} ago")
    if orphan.forgotten_us:
        say(
            "it was signed for before, which counts as what it had reported; what you give with"
            " --spent replaces that"
        )
    if orphan.shares:
        _show(orphan, amounts)
    else:
        say("it has no share of a window that is open; its use of keys is not waited for any more")
    if not yes and not confirms("Sign that?"):
        raise fail(f"{uid}: nothing was changed")
    done = orphans.forget(fleet_url_file, orphan, amounts, signed_by, reason)
    ask_books(fleet_url_file, done)
    say(f"{uid}: signed by {signed_by}; it may not come back")


def _check_gone(orphan: "Orphan", seen: str) -> None:
    """Exit 1 for a holder that may be there, which was heard of so long ago."""
    if orphan.is_recent:
        raise fail(
            f"{orphan.uid}: was heard of {seen} ago. Stop its sidecar, which gives back what it"
            " does not use; --force if it is gone for good"
        )
    if orphan.is_learning:
        raise fail("the books lost commits, and gather what all holders have: wait a moment")


def _amounts(
    shares: "Sequence[OrphanShare]", spent: Sequence[str], *, nothing_spent: bool
) -> dict[bytes, int]:
    """Return what was spent of each share. Raises ValueError, saying what is wrong with `spent`."""
    amounts = {
        share.budget: share.used if nothing_spent else max(share.granted, share.used)
        for share in shares
    }
    named = set()
    for text in spent:
        name, has_amount, amount = text.rpartition("=")
        if not has_amount:
            raise ValueError(f"--spent {text}: write RULE=AMOUNT")
        share = _named(shares, name)
        if share.budget in named:
            raise ValueError(f"--spent {name}: is given twice")
        named.add(share.budget)
        try:
            amounts[share.budget] = parse_amount(share.meter, amount)
        except ValueError as error:
            raise ValueError(f"--spent {text}: {error}") from None
        if amounts[share.budget] < 0:
            raise ValueError(f"--spent {text}: is less than nothing")
    return amounts


def _named(shares: "Sequence[OrphanShare]", name: str) -> "OrphanShare":
    """Return the share that RULE, or RULE:SCOPE, names. Raises ValueError."""
    found = [share for share in shares if name == share.rule]
    if len({share.scope for share in found}) != 1:
        found = [share for share in shares if name == f"{share.rule}:{share.scope}"] or found
    match found:
        case [share]:
            return share
        case []:
            known = sorted({share.rule for share in shares})
            raise ValueError(
                f"--spent {name}: it has no share of that limit; it has some of"
                f" {', '.join(known[:MAX_SHOWN])}"
            )
    scopes = sorted({share.scope for share in found})
    if len(scopes) > 1:
        raise ValueError(
            f"--spent {name}: it has shares for several scopes: write RULE:SCOPE=AMOUNT for"
            f" {', '.join(scopes[:MAX_SHOWN])}"
        )
    raise ValueError(
        f"--spent {name}: it has shares of two windows; wait until the older has ended"
    )


def _show(orphan: "Orphan", amounts: dict[bytes, int]) -> None:
    """Print what would change of each share."""
    table = Table("limit", "for", title="Its shares of windows that are open")
    for heading in ("share", "reported spent", "reported held", "signed", "free for others"):
        table.add_column(heading, justify="right", no_wrap=True)
    for share in orphan.shares[:MAX_SHOWN]:
        signed = amounts[share.budget]
        figures = (share.granted, share.spent, share.held, signed, share.granted - signed)
        cells = (format_number(share.meter, figure) for figure in figures)
        table.add_row(share.rule, share.scope, *cells)
    print_table(table)
    if len(orphan.shares) > MAX_SHOWN:
        say(counted(len(orphan.shares) - MAX_SHOWN, "more share"))
    above = sum(amounts[share.budget] > max(share.granted, share.used) for share in orphan.shares)
    if above:
        say(
            f"of {counted(above, 'share')}, more is signed than the holder could spend of it,"
            " unless calls used more than was held: is the amount right?"
        )
    fewer = sum(amounts[share.budget] < share.spent for share in orphan.shares)
    if fewer:
        say(
            f"of {counted(fewer, 'share')}, less is signed than it had reported as spent: right"
            " only if another ledger counts the rest, as one does that was restored and has joined"
            " anew"
        )
