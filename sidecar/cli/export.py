"""`sidecar ledger export`: a table or view of a ledger, in formats of other programs."""

from collections.abc import Iterable
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from sidecar.cli.csv_rows import write_csv
from sidecar.cli.options import LedgerFile, fail
from sidecar.cli.terminal import say_json
from sidecar.ledger import backup
from sidecar.ledger.protocol import LedgerRefusedError


class ExportFormat(StrEnum):
    """The format of an export."""

    CSV = "csv"
    JSON = "json"
    PARQUET = "parquet"
    ARROW = "arrow"


def export(
    name: Annotated[
        str, typer.Argument(metavar="TABLE", help=f"One of {', '.join(backup.EXPORTED)}.")
    ],
    ledger: LedgerFile,
    output: Annotated[ExportFormat, typer.Option("--format", help="The output format.")] = (
        ExportFormat.CSV
    ),
    to: Annotated[
        Path | None,
        typer.Option(
            "--to", metavar="FILE", help="The file to write; standard output if left out."
        ),
    ] = None,
) -> None:
    """Export a table or a view of a ledger.

    Works while a sidecar uses it, too. Parquet and Arrow need the package pyarrow.

    Example: sidecar ledger export spend_by_team_model_day --format csv --ledger ledger.sqlite
    """
    if name not in backup.EXPORTED:
        raise fail(f"no table is named {name}; there are {', '.join(backup.EXPORTED)}", 2)
    columns, rows = rows_of(ledger, name)
    if output in (ExportFormat.PARQUET, ExportFormat.ARROW):
        _write_arrow(columns, list(rows), to, as_parquet=output is ExportFormat.PARQUET)
        return
    write = _write_csv if output is ExportFormat.CSV else write_json
    if to is None:
        write(columns, rows)
        return
    try:
        with to.open("w", encoding="utf-8", newline="") as stream:
            write(columns, rows, stream)
    except OSError as error:
        raise fail(f"{to}: cannot be written: {error.strerror}") from None


def rows_of(ledger: Path, name: str) -> tuple[list[str], Iterable[tuple[Any, ...]]]:
    """Return the columns and the rows of a table or a view, or print why not and exit 1."""
    try:
        return backup.table(ledger, name)
    except LedgerRefusedError as error:
        raise fail(error) from None


def _plain(value: object) -> object:
    return value.hex() if isinstance(value, bytes) else value


def _write_csv(columns: list[str], rows: Iterable[tuple[Any, ...]], stream: Any = None) -> None:
    write_csv(columns, (tuple(map(_plain, row)) for row in rows), stream)


def write_json(columns: list[str], rows: Iterable[tuple[Any, ...]], stream: Any = None) -> None:
    """Write rows as a list of objects; what is binary is hexadecimal."""
    say_json([dict(zip(columns, map(_plain, row), strict=True)) for row in rows], stream)


def _write_arrow(
    columns: list[str], rows: list[tuple[Any, ...]], to: Path | None, *, as_parquet: bool
) -> None:
    try:
        import pyarrow as pa  # noqa: PLC0415 - an optional package
        from pyarrow import feather, parquet  # noqa: PLC0415
    except ImportError:
        raise fail("Parquet and Arrow need a package: pip install pyarrow", 2) from None
    if to is None:
        raise fail("give --to FILE: this format is binary", 2)
    values = zip(*rows, strict=True) if rows else [()] * len(columns)
    table = pa.table({name: list(column) for name, column in zip(columns, values, strict=True)})
    if as_parquet:
        parquet.write_table(table, to)
    else:
        feather.write_feather(table, to)
