"""L7: money is whole nano-USD, rounded the safe way."""

from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from fractions import Fraction

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from prices.comparison import differences
from prices.known import KNOWN
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
from sidecar.domain.usage import Endpoint, Usage, tool_calls_of
from sidecar.policy import policy_set

SMALL = Price(
    "small@2026", 0, input_nano_usd_per_million=150_000_000, output_nano_usd_per_million=600_000_000
)
FACTORS = Multipliers(100, 500, {"priority": 1750}, {"eu": 1100})
TARIFF = Tariff(SMALL, FACTORS)
PAGES = Tariff(Price("ocr@2026", 0, page_nano_usd_per_thousand=2_000_000_000), FACTORS)
ANNOTATED = Tariff(
    Price(
        "ocr@2026",
        0,
        page_nano_usd_per_thousand=4_000_000_000,
        annotated_page_nano_usd_per_thousand=5_000_000_000,
    ),
    FACTORS,
)
SPEECH = Tariff(Price("tts@2026", 0, character_nano_usd_per_million=16_000_000_000), FACTORS)
TOOLS = Tariff(
    Price(
        "medium@2026",
        0,
        input_nano_usd_per_million=1_500_000_000,
        output_nano_usd_per_million=7_500_000_000,
        cached_input_nano_usd_per_million=200_000_000,
        tool_call_nano_usd_per_thousand={"web_search": 30_000_000_000, "images": 100_000_000_000},
    ),
    FACTORS,
)
TALK = Tariff(
    Price("talk@2026", 0, 1_000_000_000, 2_000_000_000, audio_nano_usd_per_minute=6_000_000),
    FACTORS,
)
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
        # a page is annotated or plain; without a price of its own it costs what a plain one does
        (ANNOTATED, Usage(annotated_pages=8), Terms(), 40_000_000),
        (ANNOTATED, Usage(pages=2, annotated_pages=8), Terms(), 48_000_000),
        (ANNOTATED, Usage(annotated_pages=8), Terms(batch=True), 20_000_000),
        (PAGES, Usage(annotated_pages=8), Terms(), 16_000_000),
        # characters and calls of tools
        (SPEECH, Usage(characters=1_000), Terms(), 16_000_000),
        (SPEECH, Usage(characters=1), Terms(region="eu"), 17_600),
        (TOOLS, Usage(tool_calls=(("images", 1), ("web_search", 3))), Terms(), 190_000_000),
        (TOOLS, Usage(90, 40, 20, tool_calls=(("web_search", 2),)), Terms(), 60_409_000),
        (TOOLS, Usage(tool_calls=(("unheard_of", 9),)), Terms(), 0),
        # cached input with a price of its own
        (TOOLS, Usage(1_000_000, 0, 400_000), Terms(), 980_000_000),
        (TOOLS, Usage(1, 0, 1), Terms(), 200),
        # a realtime session
        (TALK, Usage(10, 20, audio_seconds=90), Terms(), 9_050_000),
        # Mistral's words for service tiers; what it is to choose costs as the dearest
        (TARIFF, Usage(1_000_000, 0), Terms("standard"), 150_000_000),
        (TARIFF, Usage(1_000_000, 0), Terms("standard_only"), 150_000_000),
        (TARIFF, Usage(1_000_000, 0), Terms("auto"), 262_500_000),
        (Tariff(SMALL, Multipliers()), Usage(1_000_000, 0), Terms("auto"), 150_000_000),
        (Tariff(SMALL, Multipliers(service_tiers={"flex": 500})), Usage(1_000_000, 0), Terms("auto"), 150_000_000),
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


@st.composite
def uses(draw: st.DrawFn, most: Usage | None = None) -> Usage:
    """Return any usage, or any within another."""
    if most is None:
        tools = (("images", 50), ("web_search", 50))
        most = Usage(10**6, 10**6, 0, 10**6, 10**6, 10**6, 10**6, tools)
    input_tokens = draw(st.integers(0, most.input_tokens))
    return Usage(
        input_tokens=input_tokens,
        output_tokens=draw(st.integers(0, most.output_tokens)),
        cached_input_tokens=draw(st.integers(0, input_tokens)),
        pages=draw(st.integers(0, most.pages)),
        audio_seconds=draw(st.integers(0, most.audio_seconds)),
        characters=draw(st.integers(0, most.characters)),
        annotated_pages=draw(st.integers(0, most.annotated_pages)),
        tool_calls=tool_calls_of(
            {name: draw(st.integers(0, count)) for name, count in most.tool_calls}
        ),
    )


@st.composite
def tariffs(draw: st.DrawFn) -> Tariff:
    """Return a price list that has every unit, as the data files may write it."""
    usd = st.integers(0, 10**13)
    fresh = draw(usd)
    price = Price(
        "any@2026",
        0,
        input_nano_usd_per_million=fresh,
        output_nano_usd_per_million=draw(usd),
        page_nano_usd_per_thousand=draw(usd),
        audio_nano_usd_per_minute=draw(usd),
        cached_input_nano_usd_per_million=draw(st.none() | st.integers(0, fresh)),
        annotated_page_nano_usd_per_thousand=draw(usd),
        character_nano_usd_per_million=draw(usd),
        tool_call_nano_usd_per_thousand={"images": draw(usd), "web_search": draw(usd)},
    )
    factors = st.integers(0, 3000)
    tiers = draw(st.dictionaries(st.sampled_from(["priority", "flex"]), factors))
    return Tariff(price, Multipliers(draw(st.integers(0, 1000)), draw(factors), tiers, {}))


@pytest.mark.property
@given(st.data(), tariffs(), st.sampled_from(list(Endpoint)))
def test_the_bound_covers_every_usage_within_it(
    data: st.DataObject, tariff: Tariff, endpoint: Endpoint
) -> None:
    """L1, L7: the hold is at least the cost of any usage within the bound, in every unit.

    A tier that Mistral chooses is held at the dearest that it may become.
    """
    most = replace(data.draw(uses()), cached_input_tokens=0)
    batch = data.draw(st.booleans())
    tier = data.draw(
        st.sampled_from(["", "standard_only", "auto", *tariff.multipliers.service_tiers])
    )
    try:
        bound = tariff.bound_nano_usd(endpoint, most, Terms(tier, batch))
    except UnpricedError:
        return  # a session without a bound on its tokens, or more than a million USD
    assert type(bound) is int
    assert bound <= MAX_BOUND_NANO_USD
    used = data.draw(uses(most))
    served = (
        [tier]
        if tier != "auto"
        else ["auto", "standard", "default", *tariff.multipliers.service_tiers]
    )
    for name in served:
        cost = tariff.cost_nano_usd(used, Terms(name, batch))
        assert type(cost) is int
        assert 0 <= cost <= bound


@pytest.mark.parametrize(
    ("tariff", "endpoint", "terms", "missing"),
    [
        (TARIFF, Endpoint.OCR, Terms(), "no price for pages"),
        (TARIFF, Endpoint.TRANSCRIPTION, Terms(), "no price for minutes of audio"),
        (PAGES, Endpoint.SPEECH, Terms(), "no price for characters"),
        (PAGES, Endpoint.REALTIME, Terms(), "no price for minutes of audio"),
        (PAGES, Endpoint.CHAT, Terms(), "no price for input tokens"),
        (Tariff(Price("e", 0, 5), FACTORS), Endpoint.CHAT, Terms(), "no price for output tokens"),
        (DEAR, Endpoint.CHAT, Terms(), "no bound below a million USD"),
        (TARIFF, Endpoint.CHAT, Terms("turbo"), "no multiplier for this service tier"),
        (TARIFF, Endpoint.CHAT, Terms(region="moon"), "no multiplier for this region"),
    ],
)
def test_a_unit_without_a_price_has_no_bound(
    tariff: Tariff, endpoint: Endpoint, terms: Terms, missing: str
) -> None:
    """A unit, tier or region without a price is refused, not taken for free."""
    with pytest.raises(UnpricedError, match=missing):
        tariff.bound_nano_usd(endpoint, Usage(1, 1), terms)


@pytest.mark.parametrize(
    ("tariff", "endpoint", "most", "missing"),
    [
        (PAGES, Endpoint.OCR, Usage(annotated_pages=1), "no price for annotated pages"),
        (TARIFF, Endpoint.CHAT, Usage(1, 1, tool_calls=(("web_search", 1),)),
         "no price for calls of web_search"),
        (TARIFF, Endpoint.CHAT, Usage(1, 1, characters=1), "no price for characters"),
        (TALK, Endpoint.REALTIME, Usage(audio_seconds=1),
         "a price for input tokens, and no bound on them"),
        (TALK, Endpoint.REALTIME, Usage(1, audio_seconds=1),
         "a price for output tokens, and no bound on them"),
    ],
)  # fmt: skip
def test_a_unit_that_a_call_uses_needs_a_price_and_a_bound(
    tariff: Tariff, endpoint: Endpoint, most: Usage, missing: str
) -> None:
    """L1: what the estimate names and the model does not price is refused; so is the reverse."""
    with pytest.raises(UnpricedError, match=missing):
        tariff.bound_nano_usd(endpoint, most, Terms())


@pytest.mark.parametrize(
    ("tariff", "most"),
    [
        (TALK, Usage(10, 20, audio_seconds=90)),
        (AUDIO, Usage(audio_seconds=90)),
        (TARIFF, Usage(10, 20, audio_seconds=90)),
    ],
)
def test_a_realtime_session_is_billed_by_audio_tokens_or_both(tariff: Tariff, most: Usage) -> None:
    """As the model's entry prices it."""
    bound = tariff.bound_nano_usd(Endpoint.REALTIME, most, Terms())
    assert bound == tariff.cost_nano_usd(most, Terms()) > 0


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
    """Decimals convert exactly; what is below a nano-USD is cut off."""
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


def test_prices_agree_with_an_independent_list() -> None:
    """What differs from the genai-prices package is on the list of known differences, and no more.

    A price that the other list has and ours has not, or a model, is a difference too.
    """
    assert {(name, unit) for name, unit, _, _ in differences()} == KNOWN.keys()
    assert all(KNOWN.values())


def test_every_shipped_price_names_its_source() -> None:
    """`source` of each entry is an address, so that it can be looked up again."""
    content = yaml.safe_load((SHIPPED / "models.yaml").read_text(encoding="utf-8"))
    prices = [price for model in content["models"].values() for price in model["prices"]]
    assert all(price["source"].startswith("https://") for price in prices)


@pytest.mark.parametrize(
    ("name", "model_id"),
    [
        ("voxtral-mini-latest", "voxtral-mini-2602"),
        ("mistral-ocr-4", "mistral-ocr-4-1"),
        ("voxtral-small-2507", "voxtral-small-2507"),
        ("voxtral-small-latest", "voxtral-small-2507"),
        ("voxtral-mini-transcribe-realtime-2602", "voxtral-mini-transcribe-realtime-2602"),
        ("voxtral-mini-transcribe-realtime-latest", "voxtral-mini-transcribe-realtime-2602"),
        ("voxtral-mini-tts-2603", "voxtral-mini-tts-2603"),
    ],
)
def test_the_shipped_models_have_the_names_that_callers_use(name: str, model_id: str) -> None:
    """Names of Mistral's lists that were unknown, and denied, once."""
    assert policy_set.load(SHIPPED).catalogue.models[name].message.id == model_id
