"""Which conditions of the rules a set of calls has seen true, and which false."""

from collections.abc import Iterable
from dataclasses import dataclass, field

from sidecar.policy.cel_python import CelPythonEngine
from sidecar.policy.policy_set import PolicySet
from sidecar.policy.rules import Rule
from sidecar.policy.trace import Part, PartValue, Tracer
from sidecar.policy.variables import Values


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

    def __init__(self, policy: PolicySet) -> None:
        """Take every rule apart."""
        self._parser = CelPythonEngine()
        self._rules = [(rule, Tracer(self._parser, rule.body.source)) for rule in policy.rules]
        self.seen = [
            Seen(rule.id, part)
            for rule, tracer in self._rules
            for part in tracer.parts
            if part.is_condition
        ]
        self._by_part = {id(seen.part): seen for seen in self.seen}

    def watch(self, calls: Iterable[Values]) -> None:
        """Note what every condition is for these calls."""
        for values in calls:
            binding = self._parser.bind(values)
            for _, tracer in self._rules:
                for traced in tracer.values(binding):
                    if isinstance(traced.value, bool) and traced.part.is_condition:
                        self._by_part[id(traced.part)].values.add(traced.value)

    def explain(self, values: Values) -> list[tuple[Rule, list[PartValue]]]:
        """Return the value of each part of each rule, for one call."""
        binding = self._parser.bind(values)
        return [(rule, tracer.values(binding)) for rule, tracer in self._rules]

    def percent(self) -> int:
        """Return how much has been both, in whole percent, rounded down."""
        both = sum(len(seen.values) for seen in self.seen)
        return 100 * both // (2 * len(self.seen)) if self.seen else 100
