"""Prices, multipliers and tariffs: the cost of a call in whole nano-USD."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from sidecar.domain.money import ceil_div
from sidecar.domain.usage import WITH_OUTPUT, Endpoint, Usage

THOUSANDTHS = 1000
"""Multipliers are whole thousandths: 1.75 is 1750."""

MAX_BOUND_NANO_USD = 10**15
"""A million USD: a call that may cost more is denied."""

MAX_COST_NANO_USD = 10**17
"""A hundred million USD: the most that a reported usage can cost, so that sums fit an int64."""

LIST_PRICE_TIERS = frozenset({"", "default", "standard", "standard_only"})
"""Mistral's names in requests and responses for the service tier without a multiplier."""

AUTO_TIER = "auto"
"""The tier of a request that leaves the choice to Mistral: it may become any."""

# The least common denominator of "per million tokens" (or characters), "per 1000
# pages" (or calls) and "per minute", so that parts add up before anything is rounded.
_SCALE = 3_000_000


class UnpricedError(ValueError):
    """The call would use something without a price; the text says what."""


@dataclass(frozen=True, slots=True)
class Price:
    """The prices of one model from one date on; None for a unit that it does not have.

    `price_id` names the version, as in "mistral-small-2603@2026-08-21". Cached input without
    a price of its own costs the price of input times the `cached_input` multiplier.
    """

    price_id: str
    effective_from_us: int
    input_nano_usd_per_million: int | None = None
    output_nano_usd_per_million: int | None = None
    page_nano_usd_per_thousand: int | None = None
    audio_nano_usd_per_minute: int | None = None
    cached_input_nano_usd_per_million: int | None = None
    annotated_page_nano_usd_per_thousand: int | None = None
    character_nano_usd_per_million: int | None = None
    tool_call_nano_usd_per_thousand: Mapping[str, int] = field(default_factory=dict)
    """By tool name."""


@dataclass(frozen=True, slots=True)
class Terms:
    """The terms of one call that change its price: service tier, batch and region."""

    service_tier: str = ""
    batch: bool = False
    region: str = ""


@dataclass(frozen=True, slots=True)
class Multipliers:
    """Factors on list prices, in thousandths."""

    cached_input: int = THOUSANDTHS
    batch: int = THOUSANDTHS
    service_tiers: Mapping[str, int] = field(default_factory=dict)
    regions: Mapping[str, int] = field(default_factory=dict)

    def of(self, terms: Terms) -> list[int]:
        """Return the multipliers that apply to the whole call, in thousandths.

        Raises UnpricedError for a tier or a region without one.
        """
        factors = [self.batch] if terms.batch else []
        if terms.service_tier:
            factors.append(self._of_tier(terms.service_tier))
        if terms.region not in ("", "default"):
            if terms.region not in self.regions:
                raise UnpricedError("no multiplier for this region")
            factors.append(self.regions[terms.region])
        return factors

    def _of_tier(self, name: str) -> int:
        """Return a tier's multiplier; the highest of all when Mistral chooses the tier."""
        if name == AUTO_TIER:
            return max(THOUSANDTHS, *self.service_tiers.values(), 0)
        factor = None if name == "default" else self.service_tiers.get(name)
        if factor is not None:
            return factor
        if name in LIST_PRICE_TIERS:
            return THOUSANDTHS
        raise UnpricedError("no multiplier for this service tier")


@dataclass(frozen=True, slots=True, eq=False)
class Tariff:
    """A price with its multipliers: all that a cost depends on.

    One object stands for one version, so tariffs are compared by identity.
    """

    price: Price
    multipliers: Multipliers

    def bound_nano_usd(self, endpoint: Endpoint, most: Usage, terms: Terms) -> int:
        """Return the cost of a call's worst case.

        Raises UnpricedError when the endpoint bills a unit that the model has no
        price for: the cost of such a call has no bound.
        """
        for unit, price in self._billed_by(endpoint, most):
            if price is None:
                raise UnpricedError(f"no price for {unit}")
        if endpoint is Endpoint.REALTIME:
            self._check_tokens_bounded(most)
        cost_nano_usd = self.cost_nano_usd(most, terms)
        if cost_nano_usd > MAX_BOUND_NANO_USD:
            raise UnpricedError("no bound below a million USD")
        return cost_nano_usd

    def cost_nano_usd(self, used: Usage, terms: Terms) -> int:
        """Return the cost of a usage, rounded up to the nano-USD.

        Units without a price cost nothing here: a transcription is billed by the minute,
        even if it reports tokens. Annotated pages without a price of their own cost as much
        as plain pages.
        """
        price = self.price
        fresh = used.input_tokens - used.cached_input_tokens
        thousandths = 3 * self._cached_thousandths() * used.cached_input_tokens + THOUSANDTHS * (
            3 * (price.input_nano_usd_per_million or 0) * fresh
            + 3 * (price.output_nano_usd_per_million or 0) * used.output_tokens
            + 3_000 * (price.page_nano_usd_per_thousand or 0) * used.pages
            + 50_000 * (price.audio_nano_usd_per_minute or 0) * used.audio_seconds
            + 3 * (price.character_nano_usd_per_million or 0) * used.characters
            + 3_000 * self._annotated_page_nano_usd() * used.annotated_pages
        )
        for tool, count in used.tool_calls:
            each = price.tool_call_nano_usd_per_thousand.get(tool, 0)
            thousandths += THOUSANDTHS * 3_000 * each * count
        denominator = _SCALE * THOUSANDTHS
        for factor in self.multipliers.of(terms):
            thousandths *= factor
            denominator *= THOUSANDTHS
        return min(ceil_div(thousandths, denominator), MAX_COST_NANO_USD)

    def _cached_thousandths(self) -> int:
        """Return the price of a million cached tokens, in thousandths of a nano-USD."""
        price = self.price
        if price.cached_input_nano_usd_per_million is not None:
            return price.cached_input_nano_usd_per_million * THOUSANDTHS
        return (price.input_nano_usd_per_million or 0) * self.multipliers.cached_input

    def _annotated_page_nano_usd(self) -> int:
        """Return the price of a thousand annotated pages."""
        annotated = self.price.annotated_page_nano_usd_per_thousand
        return (self.price.page_nano_usd_per_thousand or 0) if annotated is None else annotated

    def _billed_by(self, endpoint: Endpoint, most: Usage) -> list[tuple[str, int | None]]:
        """Return the units that the call is billed by, each with its price."""
        price = self.price
        audio = ("minutes of audio", price.audio_nano_usd_per_minute)
        pages = ("pages", price.page_nano_usd_per_thousand)
        characters = ("characters", price.character_nano_usd_per_million)
        if endpoint is Endpoint.OCR:
            billed = [pages]
        elif endpoint is Endpoint.TRANSCRIPTION:
            billed = [audio]
        elif endpoint is Endpoint.SPEECH:
            billed = [characters]
        elif endpoint is Endpoint.REALTIME:
            billed = [] if audio[1] is None and self._prices_tokens() else [audio]
        else:
            billed = [("input tokens", price.input_nano_usd_per_million)]
            if endpoint in WITH_OUTPUT:
                billed.append(("output tokens", price.output_nano_usd_per_million))
            billed += [audio] if most.audio_seconds else []
            billed += [pages] if most.pages else []
        billed += [characters] if most.characters else []
        if most.annotated_pages:
            billed.append(("annotated pages", price.annotated_page_nano_usd_per_thousand))
        billed += [
            (f"calls of {tool}", price.tool_call_nano_usd_per_thousand.get(tool))
            for tool, _ in most.tool_calls
        ]
        return billed

    def _prices_tokens(self) -> bool:
        price = self.price
        return (price.input_nano_usd_per_million, price.output_nano_usd_per_million) != (None, None)

    def _check_tokens_bounded(self, most: Usage) -> None:
        """Raise UnpricedError where tokens have a price and the hold has none of them."""
        for unit, price, count in (
            ("input", self.price.input_nano_usd_per_million, most.input_tokens),
            ("output", self.price.output_nano_usd_per_million, most.output_tokens),
        ):
            if price and not count:
                raise UnpricedError(f"a price for {unit} tokens, and no bound on them")
