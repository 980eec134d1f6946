"""`sidecar keys fingerprint`: finds the key that a secret belongs to."""

import sys
import time
from pathlib import Path
from typing import Annotated

import typer

from sidecar.cli.options import fail
from sidecar.cli.rotation_options import PepperFile
from sidecar.cli.terminal import say
from sidecar.keys.pepper import read_pepper
from sidecar.keys.secret import MAX_BYTES, Secret
from sidecar.ledger.key_reports import read_keys
from sidecar.ledger.protocol import LedgerRefusedError


def fingerprint(
    pepper_file: PepperFile,
    ledger: Annotated[
        Path | None,
        typer.Option(
            envvar="SIDECAR_LEDGER",
            metavar="FILE",
            help="The ledger file, to find the key and version of the secret.",
        ),
    ] = None,
) -> None:
    """Print the fingerprint of a secret that is read from standard input.

    With a ledger, also print which version of which key it is; exit 1 if it is none of them.
    The secret is written nowhere.

    Example: sidecar keys fingerprint --key-pepper-file pepper.key
    --ledger ledger.sqlite < secret.txt
    """
    try:
        pepper = read_pepper(pepper_file)
    except ValueError as error:
        raise fail(f"--key-pepper-file: {error}", 2) from None
    text = sys.stdin.buffer.read(MAX_BYTES + 1)
    try:
        secret = Secret(text.decode("ascii", "replace").strip() if len(text) <= MAX_BYTES else "")
    except ValueError as error:
        raise fail(f"standard input: {error}", 2) from None
    found = pepper.fingerprint(secret.digest)
    say(found)
    if ledger is None:
        return
    try:
        versions = read_keys(ledger, time.time_ns() // 1000).versions
    except LedgerRefusedError as error:
        raise fail(error) from None
    comparable = [version for version in versions if pepper.can_compare(version.fingerprint)]
    known = [version for version in comparable if pepper.is_of(version.fingerprint, secret.digest)]
    for version in known:
        say(f"{version}: {version.state}")
    others = [version for version in versions if version.fingerprint and version not in comparable]
    if not known and others:
        names = ", ".join(map(str, others))
        raise fail(f"it may be one of {names}, whose fingerprints were made with another pepper")
    if not known:
        raise fail("no version of a key in this ledger has that fingerprint")
