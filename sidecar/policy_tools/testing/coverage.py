"""Coverage of rules by tests: each condition should be true in some call, and false in another."""

from collections.abc import Iterable
from dataclasses import dataclass, field

from sidecar.policy.cel.variables import Values
from sidecar.policy.trace import Part, RuleTraces


@dataclass(slots=True)
class ConditionCoverage:
    """One condition of a rule, with the values that it had."""

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
        """Start with no values recorded."""
        self._rules = rules
        self.conditions = [
            ConditionCoverage(rule.id, part)
            for rule, tracer in rules.rules
            for part in tracer.parts
            if part.is_condition
        ]
        self._by_part = {id(condition.part): condition for condition in self.conditions}

    def record(self, calls: Iterable[Values]) -> None:
        """Record the value of every condition for these calls."""
        for values in calls:
            for _, parts in self._rules.values(values):
                for traced in parts:
                    if isinstance(traced.value, bool) and traced.part.is_condition:
                        self._by_part[id(traced.part)].values.add(traced.value)

    def percent(self) -> int:
        """Return how many of the conditions' two values each were recorded, in whole percent."""
        covered = sum(len(condition.values) for condition in self.conditions)
        return 100 * covered // (2 * len(self.conditions)) if self.conditions else 100
