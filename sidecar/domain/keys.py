"""Names of API keys, by id and version, and their usage."""

from typing import NamedTuple

VERSION_MARK = "#"
"""The separator of a key's id and version, as in `ml-team-key#2`."""

MAX_DIGITS = 9


class KeyName(NamedTuple):
    """A key's id and version; 0 without a version."""

    key: str
    version: int

    @classmethod
    def parse(cls, text: str) -> "KeyName | None":
        """Read KEY or KEY#VERSION; None for other text. A version has no leading zero."""
        key, mark, number = text.partition(VERSION_MARK)
        if not mark:
            return cls(key, 0)
        if not (number.isascii() and number.isdecimal()) or len(number) > MAX_DIGITS:
            return None
        return None if number.startswith("0") else cls(key, int(number))

    def __str__(self) -> str:
        """Return KEY or KEY#VERSION."""
        return f"{self.key}{VERSION_MARK}{self.version}" if self.version else self.key


class KeyUse(NamedTuple):
    """The decisions that named a key for one model, all allowed or all denied."""

    name: KeyName
    """With the version, if the ledger has it."""
    model: str
    """The model's id, "" if it is unknown."""
    allowed: bool
    first_us: int
    last_us: int
    decisions: int
