"""Coverage: which conditions of the rules were true, and which false, in some calls."""

from collections.abc import Iterable
from dataclasses import dataclass, field

from sidecar.policy.cel.variables import Values
from sidecar.policy.trace import Part, RuleTraces


@dataclass(slots=True)
class Seen:
    """One condition of a rule, and what it has been."""

    rule: str
    part: Part
    values: set[bool] = field(default_factory=set)

    @property
    def missing(self) -> list[str]:
        """The values that it never had."""
        return [str(value).lower() for value in (True, False) if value not in self.values]


class Coverage:
    """Records the values of every rule's conditions."""

    def __init__(self, rules: RuleTraces) -> None:
        """Start without any value."""
        self._rules = rules
        self.seen = [
            Seen(rule.id, part)
            for rule, tracer in rules.rules
            for part in tracer.parts
            if part.is_condition
        ]
        self._by_part = {id(seen.part): seen for seen in self.seen}

    def recorder(self, calls: Iterable[Values]) -> None:
        """Record the value of every condition for these calls."""
        for values in calls:
            for _, parts in self._rules.values(values):
                for traced in parts:
                    if isinstance(traced.value, bool) and traced.part.is_condition:
                        self._by_part[id(traced.part)].values.add(traced.value)

    def percent(self) -> int:
        """Return the covered part of all conditions, each true and false, in whole percent."""
        both = sum(len(seen.values) for seen in self.seen)
        return 100 * both // (2 * len(self.seen)) if self.seen else 100
