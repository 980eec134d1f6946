"""What the commands of `sidecar fleet` share: the books' URL, and their errors."""

import asyncio
from collections.abc import Coroutine
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer

from sidecar.cli.options import fail, option
from sidecar.contract.validation import InvalidFieldError, check_signed
from sidecar.policy.files.problems import did_you_mean
from sidecar.runtime.shared_flags import FLEET_URL_FILE, NEEDS_DRIVER

T = TypeVar("T")

FleetUrlFile = Annotated[Path, option(FLEET_URL_FILE)]
SignedBy = Annotated[str, typer.Option("--signed-by", "--by", help="Who is responsible.")]
Why = Annotated[str, typer.Option(help="Why; the books keep it.")]


def need_driver(what: str = "sidecar fleet") -> None:
    """Exit 2 without the driver, which sidecar.fleet imports."""
    if find_spec("asyncpg") is None:
        raise fail(f"{what}: {NEEDS_DRIVER}", 2)


def check_url_file(url_file: Path) -> None:
    """Exit 2 without the driver, or if the file does not have the URL of books."""
    need_driver(FLEET_URL_FILE.name)
    from sidecar.fleet.protocol import (  # noqa: PLC0415 - needs the driver
        FleetRefusedError,
        FleetUnreachableError,
    )
    from sidecar.fleet.url import connection_settings  # noqa: PLC0415

    try:
        connection_settings(url_file)
    except (FleetRefusedError, FleetUnreachableError) as error:
        raise fail(f"{FLEET_URL_FILE.name} {error}", 2) from None


def ask_books(url_file: Path, operation: Coroutine[Any, Any, T]) -> T:
    """Run an operation on the books and return its result; or print why not and exit."""
    from sidecar.fleet.operations import UnknownNameError  # noqa: PLC0415 - needs the driver
    from sidecar.fleet.protocol import (  # noqa: PLC0415
        FleetRefusedError,
        FleetUnreachableError,
    )

    try:
        check_url_file(url_file)
    except typer.Exit:
        operation.close()
        raise
    try:
        return asyncio.run(operation)
    except UnknownNameError as error:
        hint = did_you_mean(error.name, error.known)
        raise fail(f"{error}; {hint}" if hint else error) from None
    except FleetRefusedError as error:
        raise fail(error) from None
    except FleetUnreachableError as error:
        raise fail(f"the fleet's books cannot be asked: {error}") from None


def check_signature(signed_by: str, reason: str) -> None:
    """Exit 2 if somebody signs with nothing, or with what cannot be printed."""
    try:
        check_signed([("--signed-by", signed_by), ("--reason", reason)])
    except InvalidFieldError as error:
        raise fail(error, 2) from None
