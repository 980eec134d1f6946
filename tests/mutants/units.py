"""Mutants of the units that calls are billed by: what each costs, and what is held of it."""

from mutants.mutant import Mutant

UNITS = [
    Mutant(
        "annotated-pages-free", "L7", "Pages that are annotated cost nothing.",
        "domain/prices.py", "3_000 * self._annotated_page_nano_usd() * used.annotated_pages", "0",
    ),
    Mutant(
        "annotated-pages-plain", "L7", "Annotated pages cost what plain ones do.",
        "domain/prices.py",
        "return (self.price.page_nano_usd_per_thousand or 0) if annotated is None else annotated",
        "return self.price.page_nano_usd_per_thousand or 0",
    ),
    Mutant(
        "characters-free", "L7", "Speech costs nothing.",
        "domain/prices.py", "3 * (price.character_nano_usd_per_million or 0) * used.characters", "0",
    ),
    Mutant(
        "tools-free", "L7", "Calls of tools cost nothing.",
        "domain/prices.py", "thousandths += THOUSANDTHS * 3_000 * each * count", "pass",
    ),
    Mutant(
        "tools-by-the-single-call", "L7", "The price of a thousand calls is that of one.",
        "domain/prices.py", "THOUSANDTHS * 3_000 * each * count", "THOUSANDTHS * 3_000_000 * each * count",
    ),
    Mutant(
        "own-cached-price-ignored", "L7", "Cached input costs the general factor in every case.",
        "domain/prices.py", "if price.cached_input_nano_usd_per_million is not None:", "if False:",
    ),
    Mutant(
        "cached-price-above-input", "L7", "Cached input may cost more than what is held.",
        "policy/files/data.py", "(fresh is None or cached > fresh)", "(fresh is None)",
    ),
    Mutant(
        "auto-tier-at-list-price", "L1", "What Mistral may serve at a dearer tier is held at list price.",
        "domain/prices.py", "return max(THOUSANDTHS, *self.service_tiers.values(), 0)", "return THOUSANDTHS",
    ),
    Mutant(
        "auto-tier-below-list-price", "L1", "A tier that is cheaper bounds what Mistral chooses.",
        "domain/prices.py", "max(THOUSANDTHS, *self", "max(0, *self",
    ),
    Mutant(
        "unknown-tools-not-priced", "L1", "A tool without a price is let out as if it were free.",
        "domain/prices.py", "for tool, _ in most.tool_calls", "for tool, _ in ()",
    ),
    Mutant(
        "realtime-tokens-unbounded", "L1", "A session's tokens have a price, and nothing holds them.",
        "domain/prices.py", "if endpoint is Endpoint.REALTIME:\n            self._check", "if False:\n            self._check",
    ),
    Mutant(
        "tools-left-out-are-free", "L5", "Tools that a report leaves out were not called.",
        "domain/usage.py", "held.tool_calls if self.tool_calls is None else self.tool_calls", "self.tool_calls or ()",
    ),
    Mutant(
        "tools-not-recorded", "L7", "What a hold has of tools is gone when it is settled.",
        "ledger/rows.py", 'return _to_json(dict(calls)) if calls else ""', 'return ""',
    ),
    Mutant(
        "chain-without-later-units", "L2", "The units of a hold can be rewritten unseen.",
        "ledger/chain.py", "    if not any(hold[len(FIRST_HOLD_COLUMNS) :]):\n        hold", "    if True:\n        hold",
    ),
    Mutant(
        "later-prices-not-recorded", "L7", "A settlement does not know the price of the later units.",
        "ledger/rows.py",
        "**{unit: amount for unit, amount in later.items() if amount is not None},",
        "",
    ),
]  # fmt: skip
