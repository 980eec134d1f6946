"""Shares: the part of every ceiling that one sidecar of several may use.

Each sidecar has its own ledger, independent of the others. If their shares add up to at most
one, all calls that they admit together stay under every ceiling.
"""

from dataclasses import dataclass

MAX_PARTS = 10_000
_DIGITS = len(str(MAX_PARTS))


@dataclass(frozen=True, slots=True)
class Share:
    """`part` of `parts` equal parts of every ceiling."""

    part: int
    parts: int

    @property
    def is_whole(self) -> bool:
        """Whether it is the share of a single sidecar."""
        return self.part == self.parts

    def of(self, ceiling: int | None) -> int | None:
        """Return this share of a ceiling, rounded down; None (unlimited) stays None.

        Rounding down keeps the sum of all shares within the ceiling.
        """
        return None if ceiling is None else ceiling * self.part // self.parts

    @classmethod
    def read(cls, text: str) -> "Share":
        """Read a share such as `1/5`. Raises ValueError."""
        numbers = text.split("/")
        if len(numbers) == 2 and all(map(_is_number, numbers)):  # noqa: PLR2004 - K and N
            part, parts = map(int, numbers)
            if 1 <= part <= parts <= MAX_PARTS:
                return cls(part, parts)
        raise ValueError(f"give K of N parts, as in 1/5, of at most {MAX_PARTS} parts")

    def __str__(self) -> str:
        """Return it as `read` takes it."""
        return f"{self.part}/{self.parts}"


WHOLE = Share(1, 1)
"""The share of a single sidecar."""


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdecimal() and len(text) <= _DIGITS
