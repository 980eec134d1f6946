"""Tables for people. Cells are plain texts: rich would read `[b]` in a name as markup."""

from typing import Any

from rich import table
from rich.console import Console
from rich.text import Text

from sidecar.domain.texts import printable

PIPE_WIDTH = 140
"""The width if no terminal reports one."""


class Table(table.Table):
    """A table whose cells have no markup and no control codes; long texts are folded."""

    def __init__(self, *headings: str, title: str = "", show_header: bool = True) -> None:
        """Begin a table with these columns; `add_column` adds others."""
        heading = cell(title) if title else None
        super().__init__(title=heading, title_justify="left", show_header=show_header)
        for name in headings:
            self.add_column(name, overflow="fold")

    def add_row(self, *cells: str | Text, **options: Any) -> None:  # type: ignore[override]
        """Add a row of texts, or of what `cell` made."""
        made = (cell(one) if isinstance(one, str) else one for one in cells)
        super().add_row(*made, **options)


def cell(*lines: str, style: str = "") -> Text:
    """Return a cell of these lines, in a style such as "bold red"."""
    return Text("\n".join(map(printable, lines)), style=style)


def print_table(shown: Table) -> None:
    """Write a table: as wide as the terminal, or wide enough in a pipe."""
    console().print(shown)


def console(*, err: bool = False) -> Console:
    """Return where tables and progress go; what it prints is no markup."""
    plain: dict[str, Any] = {"markup": False, "emoji": False, "highlight": False, "stderr": err}
    found = Console(**plain)
    return found if err or found.is_terminal else Console(width=PIPE_WIDTH, **plain)
