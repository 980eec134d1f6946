"""`sidecar keys audit`: finds what is wrong with the registered keys."""

import asyncio
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from sidecar.cli.csv_rows import write_csv
from sidecar.cli.key_options import (
    FleetUrlOption,
    KeysFormat,
    KeysFormatOption,
    PoliciesDirectory,
    iso,
    read_registry,
    warn_of_silent,
)
from sidecar.cli.mistral_options import open_mistral
from sidecar.cli.options import LedgerFile, MomentOption, fail
from sidecar.cli.settings import takes_settings
from sidecar.cli.tables import Table, print_table
from sidecar.cli.terminal import say, say_json
from sidecar.domain.counted import counted
from sidecar.keys.api_variants import MistralSettings, RemoteKey
from sidecar.keys.audit import AuditFinding, Auditor


@takes_settings
def audit(
    mistral: MistralSettings,
    policies: PoliciesDirectory,
    ledger: LedgerFile,
    unused_days: Annotated[
        int,
        typer.Option(min=0, help="Report keys that were not used for this many days."),
    ] = 30,
    old_days: Annotated[
        int, typer.Option(min=0, help="Report keys that are older than this many days.")
    ] = 90,
    admin_key_file: Annotated[
        Path | None,
        typer.Option(
            "--mistral-admin-key-file",
            envvar="SIDECAR_MISTRAL_ADMIN_KEY_FILE",
            metavar="FILE",
            help="The organization's admin key: compares with the keys at Mistral, too.",
        ),
    ] = None,
    fleet_url_file: FleetUrlOption = None,
    at: MomentOption = None,
    output: KeysFormatOption = KeysFormat.TEXT,
) -> None:
    """Find keys that are unused, old, expired, too broad or not owned. Exit 1 if there are any.

    With an admin key, also keys that only Mistral or only the registry has. Works while a
    sidecar uses the ledger, too. With a fleet's URL, the use of keys is that of all its sidecars.

    Example: sidecar keys audit --policies policies --ledger ledger.sqlite
    """
    keys = read_registry(policies, ledger, at, fleet_url_file)
    warn_of_silent(keys)
    auditor = Auditor(keys.catalogue, keys.at_us, unused_days, old_days)
    findings = list(auditor.audit(keys.records))
    if admin_key_file is not None:
        findings += auditor.compare(keys.records, _remote(mistral, admin_key_file))
    if output is KeysFormat.JSON:
        report = {
            "at": iso(keys.at_us),
            "keys": len(keys.records),
            **({} if fleet_url_file is None else {"silent_sidecars": keys.silent}),
            "findings": [asdict(finding) for finding in findings],
        }
        say_json(report)
    elif output is KeysFormat.CSV:
        write_csv(
            ("kind", "key", "finding"), ((one.kind.value, one.key, one.text) for one in findings)
        )
    else:
        _print(findings)
        listed = counted(len(keys.records), "key")
        say(f"{listed}, {counted(len(findings), 'finding')}")
    if findings:
        raise typer.Exit(1)


def _remote(settings: MistralSettings, admin_key_file: Path) -> list[RemoteKey]:
    """Ask Mistral for its keys, or print why not and exit 1: half an audit would mislead."""
    from sidecar.keys.mistral import MistralError  # noqa: PLC0415 - takes a while, not all need it

    async def ask() -> list[RemoteKey]:
        client = open_mistral(settings, admin_key_file)
        try:
            return await client.keys()
        finally:
            await client.close()

    try:
        return asyncio.run(ask())
    except MistralError as error:
        raise fail(error) from None


def _print(findings: list[AuditFinding]) -> None:
    if findings:
        table = Table("kind", "key", "finding")
        for one in findings:
            table.add_row(one.kind.value, one.key, one.text)
        print_table(table)
