"""Compares policies/models.yaml with genai-prices. Exit 1 for new differences."""

import sys

from rich.table import Table

from prices.comparison import differences
from prices.known import KNOWN
from sidecar.cli.tables import console


def main() -> int:
    """Print a table of differences, and known differences that no longer exist."""
    table = Table("model", "unit", "ours, USD", "theirs, USD", "known because")
    found = differences()
    for name, unit, ours, theirs in found:
        amounts = ("" if usd is None else f"{usd:f}" for usd in (ours, theirs))
        table.add_row(name, unit, *amounts, KNOWN.get((name, unit), "(new)"))
    screen = console()
    screen.print(table)
    differing = {(name, unit) for name, unit, _, _ in found}
    gone = KNOWN.keys() - differing
    for name, unit in sorted(gone):
        screen.print(f"known, and no difference any more: {name}, {unit}")
    return int(bool(differing - KNOWN.keys() or gone))


sys.exit(main())
