"""L7: money is whole nano-USD, rounded the safe way."""

from datetime import UTC, datetime
from decimal import Decimal
from fractions import Fraction

import genai_prices
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.policies import SHIPPED

from sidecar.domain.clock import to_us
from sidecar.domain.money import ceil_div, format_usd, nano_usd
from sidecar.domain.prices import (
    MAX_BOUND_NANO_USD,
    MAX_COST_NANO_USD,
    Multipliers,
    Price,
    Tariff,
    Terms,
    UnpricedError,
)
from sidecar.domain.usage import Endpoint, Usage
from sidecar.policy import policy_set

SMALL = Price(
    "small@2026", 0, input_nano_usd_per_million=150_000_000, output_nano_usd_per_million=600_000_000
)
FACTORS = Multipliers(100, 500, {"priority": 1750}, {"eu": 1100})
TARIFF = Tariff(SMALL, FACTORS)
PAGES = Tariff(Price("ocr@2026", 0, page_nano_usd_per_thousand=2_000_000_000), FACTORS)
AUDIO = Tariff(Price("voxtral@2026", 0, audio_nano_usd_per_minute=3_000_000), FACTORS)

LARGE = Tariff(Price("large@2026", 0, 100_000_000_001), FACTORS)
DEAR = Tariff(Price("dear@2026", 0, 10**22, 0), FACTORS)

counts = st.integers(0, 10**7)


@pytest.mark.parametrize(
    ("tariff", "usage", "terms", "nano"),
    [
        (TARIFF, Usage(1_000_000, 0), Terms(), 150_000_000),
        (TARIFF, Usage(0, 1_000_000), Terms(), 600_000_000),
        (TARIFF, Usage(1, 0), Terms(), 150),
        # cached input at a tenth
        (TARIFF, Usage(1_000_000, 0, 400_000), Terms(), 96_000_000),
        # batch and tier on the whole call, the tier after the cache discount
        (TARIFF, Usage(1_000_000, 1_000_000), Terms(batch=True), 375_000_000),
        (TARIFF, Usage(1_000_000, 0, 400_000), Terms("priority"), 168_000_000),
        (TARIFF, Usage(1_000_000, 0), Terms(region="eu"), 165_000_000),
        (TARIFF, Usage(1_000_000, 0), Terms("default"), 150_000_000),
        (TARIFF, Usage(1_000_000, 0), Terms("priority", batch=True, region="eu"), 144_375_000),
        # pages and minutes
        (PAGES, Usage(pages=3), Terms(), 6_000_000),
        (AUDIO, Usage(audio_seconds=90), Terms(), 4_500_000),
        # up to the next nano-USD
        (AUDIO, Usage(audio_seconds=1), Terms(batch=True), 25_000),
        (TARIFF, Usage(1, 0, 1), Terms(batch=True), 8),
        # also where a float of 53 bits has no room left for the fraction
        (LARGE, Usage(999_000_001), Terms(), 99_900_000_101_000),
        (TARIFF, Usage(), Terms(), 0),
    ],
)  # fmt: skip
def test_a_call_costs_what_the_price_list_says(
    tariff: Tariff, usage: Usage, terms: Terms, nano: int
) -> None:
    """Worked examples of every unit and every multiplier."""
    assert nano == tariff.cost_nano_usd(usage, terms)


@pytest.mark.property
@given(counts, counts, counts, st.booleans(), st.sampled_from(["", "priority"]))
def test_a_cost_is_exact_and_rounded_up(
    fresh: int, output: int, cached: int, batch: bool, tier: str
) -> None:
    """L7: against exact fractions, the cost is never below and less than one nano above."""
    usage = Usage(fresh + cached, output, cached)
    exact = (Fraction(150) * fresh + Fraction(15) * cached + Fraction(600) * output) * (
        Fraction(1, 2) if batch else 1
    ) * (Fraction(7, 4) if tier else 1)  # fmt: skip
    cost = TARIFF.cost_nano_usd(usage, Terms(tier, batch))
    assert 0 <= cost - exact < 1 or cost == MAX_COST_NANO_USD


@pytest.mark.property
@given(counts, counts, counts)
def test_a_bound_holds_for_every_smaller_use(input_tokens: int, output: int, cached: int) -> None:
    """L1: what is held is at least what any use within the bound can cost."""
    most = Usage(input_tokens, output)
    bound = TARIFF.bound_nano_usd(Endpoint.CHAT, most, Terms())
    assert bound <= MAX_BOUND_NANO_USD
    used = Usage(input_tokens // 2, output // 3, min(cached, input_tokens // 2))
    assert TARIFF.cost_nano_usd(used, Terms()) <= bound


@pytest.mark.parametrize(
    ("tariff", "endpoint", "terms", "missing"),
    [
        (TARIFF, Endpoint.OCR, Terms(), "no price for pages"),
        (TARIFF, Endpoint.TRANSCRIPTION, Terms(), "no price for minutes of audio"),
        (PAGES, Endpoint.CHAT, Terms(), "no price for input tokens"),
        (Tariff(Price("e", 0, 5), FACTORS), Endpoint.CHAT, Terms(), "no price for output tokens"),
        (DEAR, Endpoint.CHAT, Terms(), "no bound below a million USD"),
        (TARIFF, Endpoint.CHAT, Terms("turbo"), "no multiplier for this service tier"),
        (TARIFF, Endpoint.CHAT, Terms(region="moon"), "no multiplier for this region"),
    ],
)
def test_what_has_no_price_has_no_bound(
    tariff: Tariff, endpoint: Endpoint, terms: Terms, missing: str
) -> None:
    """A unit, tier or region without a price is refused, not taken for free."""
    with pytest.raises(UnpricedError, match=missing):
        tariff.bound_nano_usd(endpoint, Usage(1, 1), terms)


@pytest.mark.parametrize(
    ("usd", "nano", "text"),
    [
        ("50", 50_000_000_000, "50.00"),
        ("0.1", 100_000_000, "0.10"),
        ("0.0000000019", 1, "0.000000001"),
        ("2.01", 2_010_000_000, "2.01"),
        ("2000.123456789", 2_000_123_456_789, "2,000.123456789"),
    ],
)
def test_usd_become_whole_nano_usd_rounded_down(usd: str, nano: int, text: str) -> None:
    """Decimals are exact both ways; what is finer than a nano-USD is cut off."""
    assert nano == nano_usd(Decimal(usd))
    assert text == format_usd(nano)


@pytest.mark.property
@given(st.integers(-(10**30), 10**30), st.integers(1, 10**20))
def test_division_rounds_up(numerator: int, denominator: int) -> None:
    """ceil_div is the smallest whole number that is not below the quotient."""
    quotient = ceil_div(numerator, denominator)
    assert (quotient - 1) * denominator < numerator <= quotient * denominator


def test_the_price_in_force_is_the_latest_that_has_begun() -> None:
    """mistral-large-4 had three prices in four weeks; before the first it had none."""
    model = policy_set.load(SHIPPED).catalogue.models["mistral-large-4"]

    def in_force(month: int, day: int, hour: int = 0) -> str | None:
        tariff = model.tariff(to_us(datetime(2026, month, day, hour, tzinfo=UTC)))
        return tariff.price.price_id if tariff else None

    assert [
        in_force(10, 5, 23),
        in_force(10, 6),
        in_force(10, 19, 23),
        in_force(10, 20),
        in_force(12, 1),
    ] == [
        None,
        "mistral-large-4-0@2026-10-06",
        "mistral-large-4-0@2026-10-06",
        "mistral-large-4-0@2026-10-20",
        "mistral-large-4-0@2026-10-29",
    ]


@pytest.mark.parametrize(
    "model_name",
    [
        "codestral-2508",
        "codestral-embed",
        "ministral-8b-2512",
        "mistral-embed",
        "mistral-medium-latest",
        "mistral-small-latest",
    ],
)
def test_prices_agree_with_an_independent_list(model_name: str) -> None:
    """Where the genai-prices package knows today's price of a model, it is ours."""
    model = policy_set.load(SHIPPED).catalogue.models[model_name]
    tariff = model.tariff(to_us(datetime(2026, 11, 1, tzinfo=UTC)))
    assert tariff is not None
    has_output = tariff.price.output_nano_usd_per_million is not None
    usage = Usage(1_000_000, 1_000_000 if has_output else 0)
    listed = genai_prices.calc_price(
        genai_prices.Usage(input_tokens=usage.input_tokens, output_tokens=usage.output_tokens),
        model_name,
        provider_id="mistral",
    )
    assert nano_usd(listed.total_price) == tariff.cost_nano_usd(usage, Terms())
