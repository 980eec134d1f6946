"""`sidecar ledger set-time`: the way back for a ledger whose time is far ahead."""

from datetime import UTC
from pathlib import Path
from typing import Annotated

import typer

from sidecar.cli.ledger_files import now_us
from sidecar.cli.options import LedgerFile, fail
from sidecar.cli.terminal import confirms, say
from sidecar.contract.validation import InvalidFieldError, check_signed
from sidecar.domain.clock import format_time
from sidecar.ledger.protocol import LedgerRefusedError
from sidecar.ledger.time_correction import TimeCorrection, correct_time


def set_time(
    ledger: LedgerFile,
    signed_by: Annotated[str, typer.Option("--signed-by", help="Who is responsible.")],
    reason: Annotated[str, typer.Option(help="Why; the ledger keeps it.")],
    yes: Annotated[bool, typer.Option("--yes", help="Do it without a question.")] = False,
) -> None:
    """Set the time of a ledger that a wrong clock moved ahead back to the clock.

    The ledger gets a row for it. No sidecar may use the ledger. It shows what will change, and
    asks before it does. No window is given twice: what it had spent counts again.

    Example: sidecar ledger set-time --ledger ledger.sqlite
    --signed-by ada@example.com --reason "the node's clock was a month ahead"
    """
    try:
        check_signed([("--signed-by", signed_by), ("--reason", reason)])
    except InvalidFieldError as error:
        raise fail(error, 2) from None
    if not ledger.exists():
        raise fail(f"{ledger}: there is no such ledger")

    def confirm(planned: TimeCorrection) -> None:
        _show(ledger, planned)
        if not yes and not confirms("Set it back?"):
            raise fail(f"{ledger}: nothing was changed")

    try:
        done = correct_time(ledger, now_us(), signed_by, reason, confirm)
    except LedgerRefusedError as error:
        raise fail(error) from None
    say(f"{ledger}: {'its time was set back' if done else 'its time is not ahead of the clock'}")


def _show(ledger: Path, planned: TimeCorrection) -> None:
    """Print what a correction changes."""
    say(
        f"{ledger}: its time is {format_time(planned.from_us, UTC)} (UTC), and would be"
        f" {format_time(planned.to_us, UTC)}",
        f"decisions after that: {planned.decisions:,}, denials among them; what they spent counts"
        " when that time comes",
        f"open holds of these: {planned.open_holds:,}; they expire now, charged as their limits"
        " say, and can still be settled",
    )
