"""The limits of a simulated fleet: each process has its own ceilings, which change."""

from dataclasses import dataclass, field
from random import Random

from sidecar.domain.decisions import Limit, Meter
from sidecar.domain.sharing import TIMELESS, BudgetKey
from sidecar.domain.windows import Window

SCOPE = "lab"


@dataclass
class Rule:
    """A limit of the policies."""

    name: str
    meter: Meter
    window: Window
    ceiling: int
    """The one that all processes begin with, and end with."""

    def limit(self, ceiling: int) -> Limit:
        """Return the limit with a process's ceiling."""
        return Limit(self.name, self.meter, self.window, SCOPE, ceiling)

    def key(self, start_us: int | None) -> BudgetKey:
        """Return the budget in a window."""
        start_us = 0 if self.window in TIMELESS else start_us or 0
        return BudgetKey(self.name, self.meter, self.window, SCOPE, start_us)

    def amount(self, tokens: int) -> int:
        """Return what a call of this many tokens takes."""
        return {Meter.REQUESTS: 1, Meter.TOKENS: tokens, Meter.COST: tokens * 1000}[self.meter]


ALL = (
    (Meter.TOKENS, Window.DAY),
    (Meter.COST, Window.HOUR),
    (Meter.COST, Window.TOTAL),
    (Meter.REQUESTS, Window.TOTAL),
    (Meter.REQUESTS, Window.MINUTE),
    (Meter.TOKENS, Window.MINUTE),
    (Meter.REQUESTS, Window.CONCURRENT),
)


TIMELESS_CHANCE = 0.3
"""Of a world with one limit, which is a minute's or a concurrent one."""


def draw(random: Random, largest_tokens: int) -> list[Rule]:
    """Return some limits with ceilings that a few calls, or many, reach."""
    chosen = random.sample(ALL, random.choice([1, 2, 3]))
    if random.random() < TIMELESS_CHANCE:
        chosen = [random.choice([one for one in ALL if one[1] in TIMELESS])]
    rules = []
    for meter, window in chosen:
        calls = random.choice([2, 3, 5, 15] if window is Window.CONCURRENT else [2, 4, 10, 30, 100])
        rule = Rule(f"{meter}-{window}", meter, window, 0)
        rule.ceiling = rule.amount(largest_tokens) * calls
        rules.append(rule)
    return rules


@dataclass
class Highest:
    """The highest ceilings and the lowest adjustments so far, by rule and by budget."""

    ceiling: dict[str, int] = field(default_factory=dict)
    adjusted: dict[BudgetKey, int] = field(default_factory=dict)

    def see_ceiling(self, rule: str, ceiling: int) -> None:
        """Note that a process enforces a ceiling."""
        self.ceiling[rule] = max(ceiling, self.ceiling.get(rule, 0))

    def see_adjusted(self, key: BudgetKey, adjusted: int) -> None:
        """Note a sum of adjustments."""
        self.adjusted[key] = min(adjusted, self.adjusted.get(key, 0))

    def of(self, key: BudgetKey) -> int:
        """Return the highest limit that a budget has had."""
        return self.ceiling.get(key.rule, 0) - self.adjusted.get(key, 0)
