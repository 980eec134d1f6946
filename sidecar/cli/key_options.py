"""Options and output that the commands on registered keys share."""

import time
from collections.abc import Sequence
from datetime import UTC
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NamedTuple

import typer

from sidecar.cli.fleet_books import ask_books, need_driver
from sidecar.cli.options import fail, option
from sidecar.cli.policies import load_policies
from sidecar.cli.terminal import say
from sidecar.domain.clock import to_datetime
from sidecar.keys.registry import KeyRecord, records
from sidecar.ledger.key_reports import read_keys
from sidecar.ledger.protocol import LedgerRefusedError
from sidecar.policy.catalogue import Catalogue
from sidecar.runtime.shared_flags import FLEET_URL_FILE, POLICIES

if TYPE_CHECKING:
    from sidecar.fleet.key_usage import FleetKeyFacts

MAX_SILENT = 5
"""Sidecars that are named."""


class KeysFormat(StrEnum):
    """How a command prints its result."""

    TEXT = "text"
    JSON = "json"
    CSV = "csv"


PoliciesDirectory = Annotated[Path, option(POLICIES)]
KeysFormatOption = Annotated[
    KeysFormat, typer.Option("--format", envvar="SIDECAR_KEYS_FORMAT", help="The output format.")
]


FleetUrlOption = Annotated[Path | None, option(FLEET_URL_FILE)]


class Keys(NamedTuple):
    """The registry of a policy directory, with what a ledger knows of its keys at a time."""

    catalogue: Catalogue
    records: list[KeyRecord]
    at_us: int
    silent: Sequence[str] = ()
    """Sidecars of the fleet that have not reported lately which keys they use."""


def read_registry(
    policies: Path, ledger: Path, at_us: int | None, fleet_url_file: Path | None = None
) -> Keys:
    """Read the policies and the ledger, or print what is wrong with one and exit 1.

    With a fleet's books, the use of keys is that of all its sidecars.
    """
    catalogue = load_policies(policies, "cel-cpp").catalogue
    if not ledger.exists():
        raise fail(f"{ledger}: there is no such ledger")
    try:
        facts = read_keys(ledger, time.time_ns() // 1000)
    except LedgerRefusedError as error:
        raise fail(error) from None
    at_us = facts.at_us if at_us is None else at_us
    if fleet_url_file is None:
        found = records(catalogue, facts.since_us, facts.uses, facts.versions)
        return Keys(catalogue, found, at_us)
    fleet = _fleet_use(fleet_url_file)
    found = records(catalogue, fleet.since_us, fleet.uses, facts.versions)
    return Keys(catalogue, found, at_us, [f"{one.name} ({one.uid})" for one in fleet.silent])


def _fleet_use(url_file: Path) -> "FleetKeyFacts":
    """Read the use of keys over the fleet, or print why not and exit."""
    need_driver(FLEET_URL_FILE.name)
    from sidecar.fleet.key_usage import read  # noqa: PLC0415 - needs the driver

    return ask_books(url_file, read(url_file))


def warn_of_silent(keys: Keys) -> None:
    """Say which sidecars may have used keys that no report has."""
    if keys.silent:
        more = f" and {len(keys.silent) - MAX_SILENT} more" if len(keys.silent) > MAX_SILENT else ""
        say(
            f"sidecar: the use of keys is not up to date: {', '.join(keys.silent[:MAX_SILENT])}"
            f"{more} did not report for two minutes",
            err=True,
        )


def iso(at_us: int | None) -> str | None:
    """Write a time in ISO 8601, in UTC."""
    return None if at_us is None else to_datetime(at_us).astimezone(UTC).isoformat()
