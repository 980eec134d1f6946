"""`sidecar keys list` and `show`: the registry, with what the ledger knows of it."""

from collections.abc import Iterable
from datetime import UTC
from typing import Annotated, Any

import typer

from sidecar.cli.csv_rows import write_csv
from sidecar.cli.key_options import (
    FleetUrlOption,
    Keys,
    KeysFormat,
    KeysFormatOption,
    PoliciesDirectory,
    iso,
    read_registry,
    warn_of_silent,
)
from sidecar.cli.options import Format, FormatOption, LedgerFile, MomentOption, fail
from sidecar.cli.tables import Table, print_table
from sidecar.cli.terminal import say, say_json
from sidecar.domain.clock import format_time
from sidecar.domain.counted import counted
from sidecar.domain.keys import KeyName
from sidecar.domain.rotation import Version
from sidecar.keys.audit import Auditor
from sidecar.keys.registry import KeyRecord
from sidecar.policy.cel.variables import NEVER, UNLIMITED_INT

COLUMNS = ("id", "name", "workspace", "owner", "state", "created", "last used", "versions")


def list_keys(
    policies: PoliciesDirectory,
    ledger: LedgerFile,
    fleet_url_file: FleetUrlOption = None,
    at: MomentOption = None,
    output: KeysFormatOption = KeysFormat.TEXT,
) -> None:
    """List the registered keys, and when each was used last.

    Works on a ledger in use, too. With a fleet's URL, the use of keys is that of all its sidecars.

    Example: sidecar keys list --policies policies --ledger ledger.sqlite
    """
    keys = read_registry(policies, ledger, at, fleet_url_file)
    warn_of_silent(keys)
    listed = [_summary(key, keys.at_us) for key in keys.records]
    if output is KeysFormat.JSON:
        say_json(listed)
    elif output is KeysFormat.CSV:
        rows = ({**one, "versions": " ".join(one["versions"])} for one in listed)
        write_csv(list(_summary_columns(listed)), (list(row.values()) for row in rows))
    else:
        table = Table(*COLUMNS)
        for key in keys.records:
            table.add_row(*_cells(key, keys.at_us))
        print_table(table)
        say(f"{counted(len(listed), 'key')}; times are in UTC")


def show(
    key: Annotated[str, typer.Argument(metavar="KEY", help="The key's id in the data files.")],
    policies: PoliciesDirectory,
    ledger: LedgerFile,
    fleet_url_file: FleetUrlOption = None,
    at: MomentOption = None,
    output: FormatOption = Format.TEXT,
) -> None:
    """Show one key: its entry, its versions, its calls, and what an audit finds.

    Works on a ledger in use, too. With a fleet's URL, the use of keys is that of all its sidecars.

    Example: sidecar keys show ml-team-key --policies policies --ledger ledger.sqlite
    """
    keys = read_registry(policies, ledger, at, fleet_url_file)
    warn_of_silent(keys)
    record = next((one for one in keys.records if one.id == key), None)
    if record is None:
        raise fail(f"{key}: no key of that id is registered in {policies}")
    report = _report(record, keys)
    if output is Format.JSON:
        say_json(report)
        return
    facts = Table(show_header=False)
    for name, value in report.items():
        if not isinstance(value, list) or name == "allowed_models":
            shown = ", ".join(value) if isinstance(value, list) else value
            facts.add_row(name, "" if shown is None else str(shown))
    print_table(facts)
    for name in ("versions", "uses", "findings"):
        _print(name, report[name])


def _summary(key: KeyRecord, at_us: int) -> dict[str, Any]:
    """Return a key for programs; times in ISO 8601."""
    return {
        "id": key.id,
        "name": key.entry.name,
        "workspace": key.entry.workspace,
        "owner": key.entry.owner,
        "state": key.state(at_us).value,
        "created": iso(key.made_us),
        "last_used": iso(key.last_used_us),
        "counted_since": iso(key.since_us),
        "calls": sum(use.decisions for use in key.used),
        "versions": [f"#{one.version} {one.state}" for one in key.versions],
    }


def _summary_columns(listed: list[dict[str, Any]]) -> Iterable[str]:
    return listed[0] if listed else COLUMNS


def _cells(key: KeyRecord, at_us: int) -> tuple[str, ...]:
    """Return a row of the table of keys."""
    used, since, made = (
        "" if us is None else format_time(us, UTC)
        for us in (key.last_used_us, key.since_us, key.made_us)
    )
    never = f"never since {since}" if since else "not counted"
    versions = ", ".join(f"#{one.version} {one.state}" for one in key.versions)
    entry = key.entry
    return (
        key.id, entry.name, entry.workspace, entry.owner, key.state(at_us).value, made,
        used or never, versions,
    )  # fmt: skip


def _report(key: KeyRecord, keys: Keys) -> dict[str, Any]:
    entry, findings = key.entry, Auditor(keys.catalogue, keys.at_us).audit([key])
    never = entry.expires.ToMicroseconds() == _NEVER_US
    unlimited = entry.requests_per_minute == UNLIMITED_INT
    return {
        **_summary(key, keys.at_us),
        "description": entry.description,
        "allowed_models": list(entry.allowed_models),
        "requests_per_minute": None if unlimited else entry.requests_per_minute,
        "expires": None if never else iso(entry.expires.ToMicroseconds()),
        "versions": [_version(one, key) for one in key.versions],
        "uses": [
            {
                "key": str(use.name),
                "model": use.model,
                "effect": "allow" if use.allowed else "deny",
                "decisions": use.decisions,
                "first": iso(use.first_us),
                "last": iso(use.last_us),
            }
            for use in key.uses
        ],
        "findings": [{"kind": one.kind.value, "finding": one.text} for one in findings],
    }


def _version(version: Version, key: KeyRecord) -> dict[str, Any]:
    name = KeyName(version.key_id, version.version)
    last_us = max((use.last_us for use in key.used if use.name == name), default=None)
    return {
        "version": version.version,
        "state": version.state.value,
        "name_at_mistral": version.name,
        "id_at_mistral": version.remote_id,
        "created": iso(version.created_at_us),
        "last_used": iso(last_us),
        "revoked": iso(version.revoked_at_us),
    }


def _print(name: str, rows: list[dict[str, Any]]) -> None:
    if rows:
        table = Table(*rows[0], title=name)
        for row in rows:
            table.add_row(*("" if value is None else str(value) for value in row.values()))
        print_table(table)


_NEVER_US = int(NEVER.timestamp()) * 1_000_000
