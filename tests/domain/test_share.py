"""Shares of ceilings: the integer parts never add up to more than the whole."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.domain.share import MAX_PARTS, WHOLE, Share

CEILINGS = st.integers(0, 10**18)


@st.composite
def splits(draw: st.DrawFn) -> list[Share]:
    """Draw parts whose sum is at most the whole."""
    of = draw(st.integers(1, MAX_PARTS))
    parts, left = [], of
    for wanted in draw(st.lists(st.integers(1, of), min_size=1, max_size=20)):
        if wanted <= left:
            parts.append(Share(wanted, of))
            left -= wanted
    return parts


@pytest.mark.property
@given(CEILINGS, splits())
def test_the_parts_of_a_ceiling_are_never_more_than_the_whole(
    ceiling: int, shares: list[Share]
) -> None:
    """L1: for every split, K1/N + K2/N + … of a ceiling is at most the ceiling."""
    parts = [share.of(ceiling) or 0 for share in shares]
    assert sum(parts) <= ceiling
    given_away = sum(share.part for share in shares) == shares[0].parts
    assert not given_away or ceiling - sum(parts) < len(shares)  # and rounding loses little


@pytest.mark.property
@given(CEILINGS)
def test_a_share_of_1_of_1_is_the_ceiling(ceiling: int) -> None:
    """A single sidecar has every ceiling unchanged."""
    assert ceiling == WHOLE.of(ceiling)


def test_a_share_of_unlimited_is_unlimited() -> None:
    """Unlimited stays unlimited."""
    assert Share(1, 5).of(None) is None


@pytest.mark.parametrize(
    ("ceiling", "part"), [(10, 3), (3, 1), (2, 0), (0, 0), (10**18, 10**18 // 3)]
)
def test_parts_round_down(ceiling: int, part: int) -> None:
    """A third of two is nothing: two of three would be one too many."""
    assert part == Share(1, 3).of(ceiling)


@pytest.mark.parametrize("text", ["1/1", "1/5", "3/5", "5/5", f"1/{MAX_PARTS}"])
def test_a_share_is_written_as_it_is_read(text: str) -> None:
    """K of N parts, as on the command line."""
    assert text == str(Share.read(text))


@pytest.mark.parametrize(
    "text",
    ["", "1", "/", "1/", "/5", "0/5", "6/5", "1/0", "-1/5", "1/-5", "+1/5", "0.2", "1/5/1", " 1/5",
     "1/5 ", "1 / 5", "1_0/20", "\u00b9/5", "\uff11/\uff15", "one/five", f"1/{MAX_PARTS + 1}", "1/" + "9" * 5000],
)  # fmt: skip
def test_an_invalid_share_is_refused_with_an_example(text: str) -> None:
    """More than the whole, nothing, and numbers that only Python accepts."""
    with pytest.raises(ValueError, match="K of N parts, as in 1/5"):
        Share.read(text)
