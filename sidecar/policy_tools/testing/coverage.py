"""Which conditions of the rules a set of calls has seen true, and which false."""

from collections.abc import Iterable
from dataclasses import dataclass, field

from sidecar.policy.cel.variables import Values
from sidecar.policy.trace import Part, TakenApart


@dataclass(slots=True)
class Seen:
    """One condition of a rule, and what it has been."""

    rule: str
    part: Part
    values: set[bool] = field(default_factory=set)

    @property
    def missing(self) -> list[str]:
        """What it has never been."""
        return [str(value).lower() for value in (True, False) if value not in self.values]


class Coverage:
    """Watches the conditions of every rule."""

    def __init__(self, rules: TakenApart) -> None:
        """Nothing has been seen yet."""
        self._rules = rules
        self.seen = [
            Seen(rule.id, part)
            for rule, tracer in rules.rules
            for part in tracer.parts
            if part.is_condition
        ]
        self._by_part = {id(seen.part): seen for seen in self.seen}

    def recorder(self, calls: Iterable[Values]) -> None:
        """Note what every condition is for these calls."""
        for values in calls:
            for _, parts in self._rules.values(values):
                for traced in parts:
                    if isinstance(traced.value, bool) and traced.part.is_condition:
                        self._by_part[id(traced.part)].values.add(traced.value)

    def percent(self) -> int:
        """Return how much has been both, in whole percent, rounded down."""
        both = sum(len(seen.values) for seen in self.seen)
        return 100 * both // (2 * len(self.seen)) if self.seen else 100
