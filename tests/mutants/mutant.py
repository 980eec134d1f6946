"""A small change of the source that breaks one promise."""

from dataclasses import dataclass
from pathlib import Path


class StaleError(Exception):
    """The source has changed, so that a mutant no longer says what it breaks."""


@dataclass(frozen=True, slots=True)
class Mutant:
    """Replaces a piece of one file, which has to be there exactly once."""

    name: str
    promise: str
    breaks: str
    """What becomes of the promise, in a sentence."""
    file: str
    """Below sidecar/."""
    old: str
    new: str

    def apply(self, sidecar: Path) -> str:
        """Return the text of the file in this package, mutated. Raises StaleError."""
        text = (sidecar / self.file).read_text(encoding="utf-8")
        found = text.count(self.old)
        if found != 1:
            raise StaleError(f"{self.name}: its piece is {found} times in {self.file}, not once")
        return text.replace(self.old, self.new)
