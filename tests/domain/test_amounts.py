"""Parsing of amounts: exact, or refused."""

import pytest

from sidecar.domain.amounts import parse_amount
from sidecar.domain.decisions import Meter


@pytest.mark.parametrize(
    ("meter", "text", "amount"),
    [
        (Meter.COST, "1.5", 1_500_000_000),
        (Meter.COST, "-0.000000001", -1),
        (Meter.COST, "0", 0),
        (Meter.TOKENS, "1e3", 1000),
        (Meter.REQUESTS, "-3", -3),
    ],
)
def test_an_amount_is_counted_exactly(meter: Meter, text: str, amount: int) -> None:
    """In the ledger's units."""
    assert parse_amount(meter, text) == amount


@pytest.mark.parametrize(
    ("meter", "text"),
    [
        (Meter.COST, "0.0000000001"),  # would be an adjustment of nothing
        (Meter.COST, "1e999999999"),
        (Meter.COST, "NaN"),
        (Meter.TOKENS, "1.5"),
        (Meter.TOKENS, "many"),
    ],
)
def test_an_amount_that_cannot_be_counted_is_refused(meter: Meter, text: str) -> None:
    """An amount that cannot be represented exactly is refused."""
    with pytest.raises(ValueError, match="number"):
        parse_amount(meter, text)
