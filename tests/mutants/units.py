"""Mutants of the units that calls are billed by: what each costs, and what is held of it."""

from mutants.mutant import Mutant

UNITS = [
    Mutant(
        "annotated-pages-free", "L7", "Pages that are annotated cost nothing.",
        "Tariff.cost_nano_usd",
        "3000 * self._annotated_page_nano_usd() * used.annotated_pages", "0",
    ),
    Mutant(
        "annotated-pages-plain", "L7", "Annotated pages cost as much as plain ones.",
        "Tariff._annotated_page_nano_usd",
        "self.price.page_nano_usd_per_thousand or 0 if annotated is None else annotated",
        "self.price.page_nano_usd_per_thousand or 0",
    ),
    Mutant(
        "characters-free", "L7", "Speech costs nothing.",
        "Tariff.cost_nano_usd",
        "3 * (price.character_nano_usd_per_million or 0) * used.characters", "0",
    ),
    Mutant(
        "tools-free", "L7", "Calls of tools cost nothing.",
        "Tariff.cost_nano_usd", "thousandths += THOUSANDTHS * 3000 * each * count", "pass",
    ),
    Mutant(
        "tools-by-the-single-call", "L7", "A price per thousand tool calls is taken for the price of one.",
        "Tariff.cost_nano_usd", "THOUSANDTHS * 3000", "THOUSANDTHS * 3000000",
    ),
    Mutant(
        "own-cached-price-ignored", "L7", "A model's own price of cached input is ignored.",
        "Tariff._cached_thousandths",
        "price.cached_input_nano_usd_per_million is not None", "False",
    ),
    Mutant(
        "cached-price-above-input", "L7", "Cached input may cost more than the input that is held.",
        "_check_prices", "fresh is None or cached > fresh", "fresh is None",
    ),
    Mutant(
        "auto-tier-at-list-price", "L1", "A call whose tier Mistral chooses is held at list price, though a tier may cost more.",
        "Multipliers._of_tier", "max(THOUSANDTHS, *self.service_tiers.values(), 0)", "THOUSANDTHS",
    ),
    Mutant(
        "auto-tier-below-list-price", "L1", "A call whose tier Mistral chooses is held below list price.",
        "Multipliers._of_tier", "max(THOUSANDTHS, ...)", "max(0, ...)",
    ),
    Mutant(
        "unknown-tools-not-priced", "L1", "A tool without a price is admitted at no cost.",
        "Tariff._billed_by", "most.tool_calls", "()",
    ),
    Mutant(
        "realtime-tokens-unbounded", "L1", "A realtime session is admitted although its tokens are priced and not bounded.",
        "Tariff.bound_nano_usd", "endpoint is Endpoint.REALTIME", "False",
    ),
    Mutant(
        "tools-left-out-are-free", "L5", "Tool calls that a report omits are charged nothing.",
        "UsageReport.completed",
        "held.tool_calls if self.tool_calls is None else self.tool_calls", "self.tool_calls or ()",
    ),
    Mutant(
        "tools-not-recorded", "L7", "The tool calls of a hold are not recorded.",
        "tool_calls_to_json", "_to_json(dict(calls)) if calls else ''", "''",
    ),
    Mutant(
        "chain-without-later-units", "L2", "The hash chain does not cover the units that were added in later versions.",
        "_link", "not any(hold[len(FIRST_HOLD_COLUMNS):])", "True",
    ),
    Mutant(
        "later-prices-not-recorded", "L7", "The prices of units that were added in later versions are not recorded.",
        "tariff_to_json",
        "{unit: amount for unit, amount in later.items() if amount is not None}", "{}",
    ),
]  # fmt: skip
