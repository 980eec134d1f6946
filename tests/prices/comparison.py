"""What differs between the shipped models and the list of the genai-prices package."""

from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, NamedTuple

import genai_prices
from genai_prices.data import providers
from genai_prices.types import ModelInfo, ModelPrice
from support.policies import SHIPPED

from sidecar.domain.clock import to_datetime
from sidecar.domain.money import NANO_USD_PER_USD
from sidecar.domain.prices import THOUSANDTHS, Tariff
from sidecar.policy import policy_set
from sidecar.policy.catalogue import Catalogue, Model

LATER = datetime(2027, 1, 1, tzinfo=UTC)
"""After every price of either list."""

MISSING = "missing"


class Difference(NamedTuple):
    """One price that is not the same, in USD for the unit. None is no price."""

    name: str
    unit: str
    ours: Decimal | None
    theirs: Decimal | None


def differences() -> list[Difference]:
    """Return what differs for any name of a model, at any time that a price of ours begins."""
    catalogue = policy_set.load(SHIPPED).catalogue
    found = [
        difference
        for name, model in sorted(catalogue.models.items())
        for at in (*map(_start, model.tariffs), LATER)
        for difference in _of_name(name, model, at)
    ]
    return [*dict.fromkeys(found), *_missing(catalogue)]


def _start(tariff: Tariff) -> datetime:
    return to_datetime(tariff.price.effective_from_us)


def _of_name(name: str, model: Model, at: datetime) -> Iterator[Difference]:
    tariff = model.tariff(int(at.timestamp() * 10**6))
    theirs = _listed(name, at)
    if tariff is None or theirs is None:
        return
    ours = _usd(tariff)
    for unit, usd in _amounts(theirs).items():
        if usd is not None and usd != ours[unit]:
            yield Difference(name, unit, ours[unit], usd)


def _listed(name: str, at: datetime) -> ModelPrice | None:
    """Return their price of a model at a time, None for one that they do not know."""
    try:
        found = genai_prices.calc_price(
            genai_prices.Usage(), name, provider_id="mistral", genai_request_timestamp=at
        )
    except LookupError:
        return None
    return found.model_price


def _amounts(price: Any) -> dict[str, Decimal | None]:
    hour = price.input_audio_hours
    return {
        "input": price.input_mtok,
        "cached input": price.cache_read_mtok,
        "output": price.output_mtok,
        "pages": price.input_document_kpages,
        "annotated pages": price.input_annotated_document_kpages,
        "minute of audio": None if hour is None else hour / 60,
    }


def _usd(tariff: Tariff) -> dict[str, Decimal | None]:
    price, factor = tariff.price, tariff.multipliers.cached_input
    cached = price.cached_input_nano_usd_per_million
    if cached is None and price.input_nano_usd_per_million is not None:
        cached = price.input_nano_usd_per_million * factor // THOUSANDTHS
    nano = {
        "input": price.input_nano_usd_per_million,
        "cached input": cached,
        "output": price.output_nano_usd_per_million,
        "pages": price.page_nano_usd_per_thousand,
        "annotated pages": price.annotated_page_nano_usd_per_thousand,
        "minute of audio": price.audio_nano_usd_per_minute,
    }
    return {
        unit: None if amount is None else Decimal(amount) / NANO_USD_PER_USD
        for unit, amount in nano.items()
    }


def _missing(catalogue: Catalogue) -> Iterator[Difference]:
    """Find the models of theirs that have no name in common with one of ours."""
    (mistral,) = (provider for provider in providers if provider.id == "mistral")
    for model in mistral.models:
        known = any(model.is_match(name) for name in catalogue.models)
        if not known and not _is_gone(model):
            yield Difference(model.id, MISSING, None, None)


def _is_gone(model: ModelInfo) -> bool:
    return bool(model.deprecated) or model.id.endswith(":free")
