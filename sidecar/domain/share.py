"""What one sidecar of several may give of every ceiling.

Each has a ledger of its own and knows nothing of the others. Where their parts add up to
no more than a whole, what they admit together stays under every ceiling.
"""

from dataclasses import dataclass

MAX_PARTS = 10_000
_DIGITS = len(str(MAX_PARTS))


@dataclass(frozen=True, slots=True)
class Share:
    """So many of so many equal parts of every ceiling."""

    part: int
    parts: int

    def of(self, ceiling: int | None) -> int | None:
        """Return this share of a ceiling, rounded down; None, for unlimited, stays None.

        Rounding down is what keeps the sum of all shares from passing the whole.
        """
        return None if ceiling is None else ceiling * self.part // self.parts

    @classmethod
    def read(cls, text: str) -> "Share":
        """Read `1/5`. Raises ValueError, which says what a share is."""
        numbers = text.split("/")
        if len(numbers) == 2 and all(map(_is_number, numbers)):  # noqa: PLR2004 - K and N
            part, parts = map(int, numbers)
            if 1 <= part <= parts <= MAX_PARTS:
                return cls(part, parts)
        raise ValueError(f"give K of N parts, as in 1/5, of at most {MAX_PARTS} parts")

    def __str__(self) -> str:
        """Write it as it is read."""
        return f"{self.part}/{self.parts}"


WHOLE = Share(1, 1)
"""The share of a sidecar that is alone."""


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdecimal() and len(text) <= _DIGITS
