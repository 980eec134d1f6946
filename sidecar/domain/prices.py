"""What a call costs, in whole nano-USD."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from sidecar.domain.money import ceil_div
from sidecar.domain.usage import WITH_OUTPUT, Endpoint, Usage

THOUSANDTHS = 1000
"""Multipliers are whole thousandths: 1.75 is 1750."""

MAX_BOUND_NANO_USD = 10**15
"""A million USD: a call that may cost more is not let out."""

MAX_COST_NANO_USD = 10**17
"""A hundred million USD: what a report can claim at most, so that sums fit an int64."""

# The least common denominator of "per million tokens", "per 1000 pages" and
# "per minute", so that parts add up before anything is rounded.
_SCALE = 3_000_000


class UnpricedError(ValueError):
    """Something the call would use has no price; the text says what."""


@dataclass(frozen=True, slots=True)
class Price:
    """What one model costs from one day on. None: the model has no such unit.

    `price_id` names the version, as in "mistral-small-2603@2026-08-21".
    """

    price_id: str
    effective_from_us: int
    input_nano_usd_per_million: int | None = None
    output_nano_usd_per_million: int | None = None
    page_nano_usd_per_thousand: int | None = None
    audio_nano_usd_per_minute: int | None = None


@dataclass(frozen=True, slots=True)
class Terms:
    """What one call agreed with the provider beyond the model."""

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
        """Return the factors that apply to the whole call.

        Raises UnpricedError for a tier or a region that has none. "default" and
        the empty name are the list price.
        """
        factors = [self.batch] if terms.batch else []
        for kind, name, table in (
            ("service tier", terms.service_tier, self.service_tiers),
            ("region", terms.region, self.regions),
        ):
            if name in ("", "default"):
                continue
            if name not in table:
                raise UnpricedError(f"no multiplier for this {kind}")
            factors.append(table[name])
        return factors


@dataclass(frozen=True, slots=True, eq=False)
class Tariff:
    """A price with the multipliers that go with it: all that a cost depends on.

    One object stands for one version, so tariffs are told apart by identity.
    """

    price: Price
    multipliers: Multipliers

    def bound_nano_usd(self, endpoint: Endpoint, most: Usage, terms: Terms) -> int:
        """Return the cost of a call that uses the most it may.

        Raises UnpricedError when the endpoint bills a unit that the model has no
        price for: such a call has no bound.
        """
        for unit, price in self._billed_by(endpoint, most):
            if price is None:
                raise UnpricedError(f"no price for {unit}")
        cost_nano_usd = self.cost_nano_usd(most, terms)
        if cost_nano_usd > MAX_BOUND_NANO_USD:
            raise UnpricedError("no bound below a million USD")
        return cost_nano_usd

    def cost_nano_usd(self, used: Usage, terms: Terms) -> int:
        """Return what the usage costs, rounded up to the nano-USD.

        Units without a price cost nothing here: a transcription is billed by
        the minute, whatever tokens it reports.
        """
        price, cached_factor = self.price, self.multipliers.cached_input
        fresh = used.input_tokens - used.cached_input_tokens
        thousandths = 3 * (price.input_nano_usd_per_million or 0) * (
            fresh * THOUSANDTHS + used.cached_input_tokens * cached_factor
        ) + THOUSANDTHS * (
            3 * (price.output_nano_usd_per_million or 0) * used.output_tokens
            + 3_000 * (price.page_nano_usd_per_thousand or 0) * used.pages
            + 50_000 * (price.audio_nano_usd_per_minute or 0) * used.audio_seconds
        )
        denominator = _SCALE * THOUSANDTHS
        for factor in self.multipliers.of(terms):
            thousandths *= factor
            denominator *= THOUSANDTHS
        return min(ceil_div(thousandths, denominator), MAX_COST_NANO_USD)

    def _billed_by(self, endpoint: Endpoint, most: Usage) -> list[tuple[str, int | None]]:
        price = self.price
        if endpoint is Endpoint.OCR:
            return [("pages", price.page_nano_usd_per_thousand)]
        if endpoint is Endpoint.TRANSCRIPTION:
            return [("minutes of audio", price.audio_nano_usd_per_minute)]
        billed = [("input tokens", price.input_nano_usd_per_million)]
        if endpoint in WITH_OUTPUT:
            billed.append(("output tokens", price.output_nano_usd_per_million))
        if most.audio_seconds:
            billed.append(("minutes of audio", price.audio_nano_usd_per_minute))
        if most.pages:
            billed.append(("pages", price.page_nano_usd_per_thousand))
        return billed
