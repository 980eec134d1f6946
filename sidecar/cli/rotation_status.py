"""`sidecar keys status`, and the report of a rotation."""

import os
import secrets
import socket
import time
from datetime import UTC
from pathlib import Path
from typing import Annotated, Any

import typer

from sidecar.cli.options import Format, FormatOption, LedgerFile, fail
from sidecar.cli.tables import Table, print_table
from sidecar.cli.terminal import say, say_json
from sidecar.domain.clock import SECOND_US, to_datetime
from sidecar.domain.counted import counted
from sidecar.domain.rotation import LEFT_FOR_LATER, STILL_IN_USE, KeyRotation, Stage, Version
from sidecar.keys.settings import Timings
from sidecar.ledger.key_store import KeyStore
from sidecar.ledger.protocol import LedgerRefusedError, LedgerUnavailableError


def status(
    ledger: LedgerFile,
    key: Annotated[str, typer.Argument(metavar="[KEY]", help="Only this key.")] = "",
    output: FormatOption = Format.TEXT,
) -> None:
    """Show each rotation and its steps. Exit 1 if one needs attention, or KEY has none.

    One needs attention if it was interrupted, or if its old key is still in use after the
    grace period. Works while a sidecar uses the ledger, too.

    Example: sidecar keys status --ledger ledger.sqlite
    """
    if not ledger.exists():
        raise fail(f"{ledger}: there is no such ledger")
    key_store = open_key_store(ledger, Timings())
    try:
        listed = [report_of(key_store, rotation) for rotation in key_store.rotations(key)]
    except LedgerUnavailableError as error:
        raise fail(error) from None
    finally:
        key_store.close()
    if output is Format.JSON:
        say_json(listed)
    else:
        for report in listed:
            print_report(report)
        say(counted(len(listed), "rotation"))
    if key and not listed:
        raise fail(f"{key}: this ledger has no rotation of it")
    if any(report["interrupted"] or report["still_in_use"] for report in listed):
        raise typer.Exit(1)


def open_key_store(ledger: Path, timings: Timings) -> KeyStore:
    """Open the tables of keys, or print why not and exit 1."""
    owner = f"{socket.gethostname()}/{os.getpid()}/{secrets.token_hex(4)}"
    try:
        return KeyStore(ledger, now_us, owner, round(timings.lease_seconds * SECOND_US))
    except LedgerRefusedError as error:
        raise fail(error) from None


def report_of(key_store: KeyStore, rotation: KeyRotation) -> dict[str, Any]:
    """Return a rotation for JSON: times in ISO 8601."""
    versions = {version.version: version for version in key_store.versions(rotation.key_id)}
    new, old = versions[rotation.to_version], versions.get(rotation.from_version)
    working = now_us() < rotation.lease_until_us
    steps = key_store.steps(rotation.id)
    in_grace = rotation.stage is Stage.SWITCHED
    waiting = in_grace or (rotation.stage is Stage.STORED and steps[-1].note == LEFT_FOR_LATER)
    return {
        "key": rotation.key_id,
        "from": None if old is None else _version(old),
        "to": _version(new),
        "stage": rotation.stage,
        "worked_at_by": rotation.owner if working else None,
        "interrupted": not (rotation.ended_at_us or working or waiting),
        "still_in_use": in_grace and steps[-1].note == STILL_IN_USE,
        "started_at": _iso(rotation.started_at_us),
        "ended_at": _iso(rotation.ended_at_us),
        "steps": [
            {"at": _iso(step.at_us), "version": step.version, "stage": step.stage,
             "by": step.owner, "note": step.note}
            for step in steps
        ],
    }  # fmt: skip


def _version(version: Version) -> dict[str, Any]:
    return {
        "version": version.version,
        "state": version.state,
        "name": version.name,
        "id": version.remote_id,
        "fingerprint": version.fingerprint,
    }


def print_report(report: dict[str, Any]) -> None:
    """Print the report for people, a line for each step."""
    before = f"#{report['from']['version']}" if report["from"] else "nothing"
    heading = f"{report['key']}, from {before} to #{report['to']['version']}: {report['stage']}"
    heading += _what_next(report)
    table = Table("at (UTC)", "version", "stage", "note", title=heading)
    for step in report["steps"]:
        at = step["at"].replace("T", " ").partition("+")[0].partition(".")[0]
        table.add_row(at, f"#{step['version']}", step["stage"], step["note"])
    print_table(table)


def _what_next(report: dict[str, Any]) -> str:
    """Return advice about a rotation that has not ended and that no process continues."""
    if report["interrupted"]:
        return ", interrupted: run `sidecar keys rotate` again, or `abort` or `rollback`"
    if report["ended_at"] or report["worked_at_by"]:
        return ""
    if report["stage"] is Stage.STORED:
        return ": run `sidecar keys rotate` again when apps have found the secret, or `rollback`"
    return ": run `sidecar keys rotate` again to revoke the old key after its grace, or `rollback`"


def _iso(at_us: int | None) -> str | None:
    return None if at_us is None else to_datetime(at_us).astimezone(UTC).isoformat()


def now_us() -> int:
    """Return the system's time in microseconds since the epoch."""
    return time.time_ns() // 1000
