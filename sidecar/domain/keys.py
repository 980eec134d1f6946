"""How API keys are named, by an id and by the numbers of their versions; and their use."""

from typing import NamedTuple

VERSION_MARK = "#"
"""Between a key's id and the number of a version, as in `ml-team-key#2`."""

MAX_DIGITS = 9


class KeyName(NamedTuple):
    """A key, and which of its versions; 0 where none is said."""

    key: str
    version: int

    @classmethod
    def parse(cls, text: str) -> "KeyName | None":
        """Read KEY or KEY#VERSION, None for anything else. A version is written in one way."""
        key, mark, number = text.partition(VERSION_MARK)
        if not mark:
            return cls(key, 0)
        if not (number.isascii() and number.isdecimal()) or len(number) > MAX_DIGITS:
            return None
        return None if number.startswith("0") else cls(key, int(number))

    def __str__(self) -> str:
        """Write it as a principal names it."""
        return f"{self.key}{VERSION_MARK}{self.version}" if self.version else self.key


class KeyUse(NamedTuple):
    """The decisions that named a key for one model, all allowed or all denied."""

    name: KeyName
    """With the version, if that is one that the ledger has."""
    model: str
    """Its id, "" for one that is unknown."""
    allowed: bool
    first_us: int
    last_us: int
    decisions: int
