"""CSV output that is safe to open in a spreadsheet: no cell is a formula."""

import csv
import sys
from collections.abc import Iterable, Sequence
from typing import TextIO

from sidecar.domain.texts import printable

_FORMULAS = set("=+-@＝＋－＠")  # noqa: RUF001 - those of full width, too


def write_csv(
    columns: Sequence[str], rows: Iterable[Sequence[object]], stream: TextIO | None = None
) -> None:
    """Write rows as CSV, by default to standard output; no cell is a formula."""
    writer = csv.writer(stream or sys.stdout)
    writer.writerow(columns)
    writer.writerows([_cell(value) for value in row] for row in rows)


def _cell(value: object) -> object:
    """Put an apostrophe before what a spreadsheet would evaluate, and escape control codes."""
    if not isinstance(value, str):
        return value
    text = printable(value)
    return f"'{text}" if text.lstrip()[:1] in _FORMULAS and text.strip() else text
