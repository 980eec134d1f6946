"""Options and output that the commands on registered keys share."""

import time
from datetime import UTC
from enum import StrEnum
from pathlib import Path
from typing import Annotated, NamedTuple

import typer

from sidecar.cli.options import fail, option
from sidecar.cli.policies import load_policies
from sidecar.domain.clock import to_datetime
from sidecar.keys.registry import KeyRecord, records
from sidecar.ledger.key_reports import read_keys
from sidecar.ledger.protocol import LedgerRefusedError
from sidecar.policy.catalogue import Catalogue
from sidecar.runtime.shared_flags import POLICIES


class KeysFormat(StrEnum):
    """How a command prints its result."""

    TEXT = "text"
    JSON = "json"
    CSV = "csv"


PoliciesDirectory = Annotated[Path, option(POLICIES)]
KeysFormatOption = Annotated[
    KeysFormat, typer.Option("--format", envvar="SIDECAR_KEYS_FORMAT", help="The output format.")
]


class Keys(NamedTuple):
    """The registry of a policy directory, with what a ledger knows of its keys at a time."""

    catalogue: Catalogue
    records: list[KeyRecord]
    at_us: int


def read_registry(policies: Path, ledger: Path, at_us: int | None) -> Keys:
    """Read the policies and the ledger, or print what is wrong with one and exit 1."""
    catalogue = load_policies(policies, "cel-cpp").catalogue
    if not ledger.exists():
        raise fail(f"{ledger}: there is no such ledger")
    try:
        facts = read_keys(ledger, time.time_ns() // 1000)
    except LedgerRefusedError as error:
        raise fail(error) from None
    found = records(catalogue, facts.since_us, facts.uses, facts.versions)
    return Keys(catalogue, found, facts.at_us if at_us is None else at_us)


def iso(at_us: int | None) -> str | None:
    """Write a time in ISO 8601, in UTC."""
    return None if at_us is None else to_datetime(at_us).astimezone(UTC).isoformat()
