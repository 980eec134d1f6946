"""Counts with a noun: 1 is singular, all others are plural."""

import re
from pathlib import Path

import pytest

import sidecar
from sidecar.domain.counted import counted

SIDECAR = Path(sidecar.__file__).parent


@pytest.mark.parametrize(
    ("number", "expected"),
    [(0, "0 findings"), (1, "1 finding"), (2, "2 findings"), (1200, "1,200 findings")],
)
def test_a_count_of_one_has_no_plural(number: int, expected: str) -> None:
    """With marks between thousands."""
    assert counted(number, "finding") == expected


def test_every_count_in_a_text_uses_counted() -> None:
    """A number before a plural, in any text of the program, would once say "1 keys"."""
    of_many = re.compile(
        r'f"[^"]*\{(?:len\([^{}]*\)|[\w.]*(?:_count|total|number))(?::,)?\} \w+s\b'
    )
    found = [
        f"{path.relative_to(SIDECAR)}: {match[0]}"
        for path in sorted(SIDECAR.rglob("*.py"))
        for match in of_many.finditer(path.read_text(encoding="utf-8"))
    ]
    assert found == []
