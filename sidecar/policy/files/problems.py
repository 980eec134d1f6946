"""What is wrong with a policy directory, and where."""

import difflib
import functools
from collections.abc import Iterable
from dataclasses import dataclass, replace

MAX_LISTED = 12
"""Known names that a hint still lists."""

MAX_COMPARED = 500
"""Known names that a wrong one is compared with; of more, those that begin alike."""


@dataclass(frozen=True, slots=True, order=True)
class Problem:
    """One thing that is wrong. Line and column start at 1; 0 is the whole file."""

    file: str
    line: int
    column: int
    message: str
    source_line: str = ""
    hint: str = ""
    lint: str = ""
    """The name of a warning, as in docs/lints.md; an error has none."""

    def __post_init__(self) -> None:
        """Keep only what can be printed: names and lines of files may hold anything."""
        for name in ("file", "message", "source_line", "hint"):
            object.__setattr__(self, name, printable(getattr(self, name)))

    def as_warning(self, lint: str) -> "Problem":
        """Return the same as a warning."""
        return replace(self, lint=lint)

    def __str__(self) -> str:
        """Write it as compilers do: place, message, the line, and a caret."""
        place = f"{self.file}:{self.line}:{self.column}" if self.line else self.file
        text = f"{place}: {self.message}"
        if self.lint:
            text = f"{place}: warning: {self.message} [{self.lint}]"
        if self.source_line:
            # Tabs stay tabs below the line too, so that the caret stays in place.
            lead = "".join("\t" if c == "\t" else " " for c in self.source_line[: self.column - 1])
            text += f"\n    {self.source_line}\n    {lead}^"
        if self.hint:
            text += f"\n    {self.hint}"
        return text


class PolicyError(Exception):
    """A policy directory cannot be used; `problems` says all that is wrong."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        """Keep the problems in the order of their places."""
        self.problems = sorted(problems)
        super().__init__("\n".join(str(problem) for problem in self.problems))


def at(file: str, text: str, line: int, column: int, message: str, hint: str = "") -> Problem:
    """Make a problem at a place of a text, with the line that it is on."""
    lines = _lines(text)
    source_line = lines[line - 1][:200] if 0 < line <= len(lines) else ""
    return Problem(file, line, column, message, source_line, hint)


@functools.lru_cache(maxsize=4)
def _lines(text: str) -> list[str]:
    """Split a text; the last ones are kept, since problems come many to a file."""
    return text.splitlines()


def printable(text: str) -> str:
    """Return a text with escapes for whatever is no letter, sign, space or tab."""
    if text.isprintable():
        return text
    return "".join(
        c if c == "\t" or c.isprintable() else c.encode("unicode_escape").decode() for c in text
    )


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Suggest the known name that is closest, or list them when they are few."""
    known = sorted(known)
    if len(known) > MAX_COMPARED:
        known = [each for each in known if each[:1] == name[:1]]
    close = difflib.get_close_matches(name, known, n=1, cutoff=0.6)
    close = close or [each for each in known if each.lower() == name.lower()]
    if close:
        return f"did you mean '{close[0]}'?"
    return f"known here: {', '.join(known)}" if 0 < len(known) <= MAX_LISTED else ""
