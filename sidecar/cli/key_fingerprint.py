"""`sidecar keys fingerprint`."""

import sys
import time
from pathlib import Path
from typing import Annotated

import typer

from sidecar.cli.options import fail
from sidecar.keys.fingerprint import fingerprint as with_pepper
from sidecar.keys.fingerprint import read_pepper
from sidecar.keys.secret import LONGEST, Secret
from sidecar.ledger.key_reports import read_keys
from sidecar.ledger.protocol import LedgerRefusedError


def fingerprint(
    pepper_file: Annotated[
        Path | None,
        typer.Option(
            envvar="SIDECAR_KEY_PEPPER_FILE",
            metavar="FILE",
            help="Mix in what only you know: HMAC-SHA256, in place of the SHA-256 that a"
            " rotation notes down.",
        ),
    ] = None,
    ledger: Annotated[
        Path | None,
        typer.Option(
            envvar="SIDECAR_LEDGER", metavar="FILE", help="Say which version it is of which key."
        ),
    ] = None,
) -> None:
    """Read a secret from standard input, and print what tells it from others.

    With a ledger, also which version of which key it is, or exit 1. The secret is written
    nowhere. Example: sidecar keys fingerprint --ledger ledger.sqlite < secret.txt
    """
    try:
        pepper = None if pepper_file is None else read_pepper(pepper_file)
    except ValueError as error:
        raise fail(f"--pepper-file {error}", 2) from None
    text = sys.stdin.buffer.read(LONGEST + 1)
    try:
        secret = Secret(text.decode("ascii", "replace").strip() if len(text) <= LONGEST else "")
    except ValueError as error:
        raise fail(f"standard input: {error}", 2) from None
    found = secret.fingerprint if pepper is None else with_pepper(secret, pepper)
    typer.echo(found)
    if ledger is None:
        return
    try:
        versions = read_keys(ledger, time.time_ns() // 1000).versions
    except LedgerRefusedError as error:
        raise fail(error) from None
    known = [version for version in versions if version.fingerprint == found]
    for version in known:
        typer.echo(f"{version}: {version.state}")
    if not known:
        raise fail("no version of a key in this ledger has that fingerprint")
