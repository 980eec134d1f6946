"""Mutants of the units that calls are billed by: what each costs, and what is held of it."""

from mutants.mutant import Mutant

UNITS = [
    Mutant(
        "annotated-pages-free", "L7", "Pages that are annotated cost nothing.",
        "Tariff.cost_nano_usd",
        "3000 * self._annotated_page_nano_usd() * used.annotated_pages", "0",
    ),
    Mutant(
        "annotated-pages-plain", "L7", "Annotated pages cost what plain ones do.",
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
        "tools-by-the-single-call", "L7", "The price of a thousand calls is that of one.",
        "Tariff.cost_nano_usd", "THOUSANDTHS * 3000", "THOUSANDTHS * 3000000",
    ),
    Mutant(
        "own-cached-price-ignored", "L7", "Cached input costs the general factor in every case.",
        "Tariff._cached_thousandths",
        "price.cached_input_nano_usd_per_million is not None", "False",
    ),
    Mutant(
        "cached-price-above-input", "L7", "Cached input may cost more than what is held.",
        "_check_prices", "fresh is None or cached > fresh", "fresh is None",
    ),
    Mutant(
        "auto-tier-at-list-price", "L1", "What Mistral may serve at a dearer tier is held at list price.",
        "Multipliers._of_tier", "max(THOUSANDTHS, *self.service_tiers.values(), 0)", "THOUSANDTHS",
    ),
    Mutant(
        "auto-tier-below-list-price", "L1", "A tier that is cheaper bounds what Mistral chooses.",
        "Multipliers._of_tier", "max(THOUSANDTHS, ...)", "max(0, ...)",
    ),
    Mutant(
        "unknown-tools-not-priced", "L1", "A tool without a price is let out as if it were free.",
        "Tariff._billed_by", "most.tool_calls", "()",
    ),
    Mutant(
        "realtime-tokens-unbounded", "L1", "A session's tokens have a price, and nothing holds them.",
        "Tariff.bound_nano_usd", "endpoint is Endpoint.REALTIME", "False",
    ),
    Mutant(
        "tools-left-out-are-free", "L5", "Tools that a report leaves out were not called.",
        "UsageReport.completed",
        "held.tool_calls if self.tool_calls is None else self.tool_calls", "self.tool_calls or ()",
    ),
    Mutant(
        "tools-not-recorded", "L7", "What a hold has of tools is gone when it is settled.",
        "tool_calls_to_json", "_to_json(dict(calls)) if calls else ''", "''",
    ),
    Mutant(
        "chain-without-later-units", "L2", "The units of a hold can be rewritten unseen.",
        "_link", "not any(hold[len(FIRST_HOLD_COLUMNS):])", "True",
    ),
    Mutant(
        "later-prices-not-recorded", "L7", "A settlement does not know the price of the later units.",
        "tariff_to_json",
        "{unit: amount for unit, amount in later.items() if amount is not None}", "{}",
    ),
]  # fmt: skip
