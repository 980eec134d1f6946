"""Options of commands that ask the admin service of a running sidecar."""

from pathlib import Path
from typing import Annotated

import typer

from sidecar.cli.options import fail

AdminAddress = Annotated[
    str,
    typer.Option(
        "--admin",
        envvar="SIDECAR_ADMIN",
        metavar="ADDRESS",
        help="The admin address of a running sidecar (its --admin-listen).",
        show_default=False,
    ),
]
LedgerInstead = Annotated[
    Path | None,
    typer.Option(
        "--ledger",
        envvar="SIDECAR_LEDGER",
        metavar="FILE",
        help="The ledger file; not used with --admin.",
    ),
]


def required_ledger(ledger: Path | None) -> Path:
    """Return the ledger file of a command without --admin, or exit 2."""
    if ledger is None:
        raise fail("give --ledger FILE, or --admin ADDRESS of a running sidecar", 2)
    return ledger
