"""`sidecar ledger …`: looking after a ledger's file."""

import json
from dataclasses import asdict

import typer

from sidecar.cli.options import Format, FormatOption, LedgerFile, fail
from sidecar.ledger import opening
from sidecar.ledger.protocol import LedgerRefusedError
from sidecar.ledger.verify import verify as verify_ledger

app = typer.Typer(help="Look after a ledger's file.", no_args_is_help=True)


@app.callback()
def _group() -> None:
    """Look after a ledger's file."""


@app.command()
def verify(ledger: LedgerFile, output: FormatOption = Format.TEXT) -> None:
    """Recompute every budget from its holds. Exit 1 if anything does not add up.

    Works on a ledger in use, too. Example: sidecar ledger verify --ledger ledger.sqlite
    """
    try:
        connection = opening.open_reader(ledger)
    except LedgerRefusedError as error:
        raise fail(error) from None
    findings, counts = verify_ledger(connection)
    if output is Format.JSON:
        report = {"findings": [asdict(finding) for finding in findings], "counts": counts}
        typer.echo(json.dumps(report, indent=2))
    else:
        for finding in findings:
            typer.echo(f"{finding.promise}: {finding.place}")
        counted = ", ".join(f"{number} {table}" for table, number in counts.items())
        verdict = f"{len(findings)} findings" if findings else "clean"
        typer.echo(f"{ledger}: {counted}: {verdict}")
    if findings:
        raise typer.Exit(1)
