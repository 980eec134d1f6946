"""Problems: errors and warnings of a policy directory, with their places."""

import difflib
import functools
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass, replace

from sidecar.domain.texts import printable

MAX_LISTED = 12
"""Up to so many known names, a hint lists them all."""

MAX_COMPARED = 500
"""Above so many known names, only those with the same first letter are compared."""


@dataclass(frozen=True, slots=True, order=True)
class Problem:
    """An error or warning. Line and column start at 1; 0 is the whole file."""

    file: str
    line: int
    column: int
    message: str
    source_line: str = ""
    """The line as it is in the file: print it with `printable`."""
    hint: str = ""
    lint: str = ""
    """The name of a warning, as in docs/lints.md; empty for an error."""

    def __post_init__(self) -> None:
        """Escape what is not printable: names of files and entries may contain anything."""
        for name in ("file", "message", "hint"):
            object.__setattr__(self, name, printable(getattr(self, name)))

    def as_warning(self, lint: str) -> "Problem":
        """Return this as a warning."""
        return replace(self, lint=lint)

    def __str__(self) -> str:
        """Format it like a compiler: place, message, the line, and a caret."""
        place = f"{self.file}:{self.line}:{self.column}" if self.line else self.file
        text = f"{place}: {self.message}"
        if self.lint:
            text = f"{place}: warning: {self.message} [{self.lint}]"
        if self.source_line:
            lead = "".join(map(_blank, self.source_line[: self.column - 1]))
            text += f"\n    {printable(self.source_line)}\n    {lead}^"
        if self.hint:
            text += f"\n    {self.hint}"
        return text


class PolicyError(Exception):
    """A policy directory is invalid; `problems` has all reasons."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        """Keep the problems, sorted by place."""
        self.problems = sorted(problems)
        super().__init__("\n".join(str(problem) for problem in self.problems))


def at(file: str, text: str, line: int, column: int, message: str, hint: str = "") -> Problem:
    """Return a problem at a place in a text, with its line."""
    lines = _lines(text)
    source_line = lines[line - 1][:200] if 0 < line <= len(lines) else ""
    return Problem(file, line, column, message, source_line, hint)


@functools.lru_cache(maxsize=4)
def _lines(text: str) -> list[str]:
    """Split a text; cached, since a file may have many problems."""
    return text.splitlines()


def _blank(character: str) -> str:
    """Return spaces as wide as a terminal shows a character; a tab stays one."""
    if character == "\t":
        return character
    shown = printable(character)
    if shown != character:
        return " " * len(shown)
    if unicodedata.category(character) in ("Mn", "Me"):
        return ""  # it is drawn over the character before it
    return " " * (2 if unicodedata.east_asian_width(character) in "WF" else 1)


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return a hint: the closest known name, or all of them if they are few."""
    known = sorted(known)
    if len(known) > MAX_COMPARED:
        known = [each for each in known if each[:1] == name[:1]]
    close = difflib.get_close_matches(name, known, n=1, cutoff=0.6)
    close = close or [each for each in known if each.lower() == name.lower()]
    if close:
        return f"did you mean '{close[0]}'?"
    return f"known: {', '.join(known)}" if 0 < len(known) <= MAX_LISTED else ""
