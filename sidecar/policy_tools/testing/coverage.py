"""Coverage of rules by tests: which values each condition had, and what each limit did.

Each condition should be true in some call and false in another, where those before it do not
decide already; each limit should have room for some call and refuse another.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from sidecar.policy.cel.syntax import is_literal
from sidecar.policy.rules import RuleEffect
from sidecar.policy.trace import Part, RuleTraces
from sidecar.policy_tools.testing.runner import FITS, REFUSES, FixtureResult


@dataclass(slots=True)
class Covered:
    """A condition or a limit, with the outcomes that it can have, and those that it had."""

    rule: str
    part: Part
    possible: tuple[str, ...]
    seen: set[str] = field(default_factory=set)

    @property
    def missing(self) -> list[str]:
        """The outcomes that it never had."""
        return [outcome for outcome in self.possible if outcome not in self.seen]


class Coverage:
    """Records the outcomes of every rule's conditions, and of every limit."""

    def __init__(self, rules: RuleTraces) -> None:
        """Start with no outcomes recorded."""
        self._rules = rules
        self._conditions = {id(each.part): each for each in _conditions(rules)}
        self._limits = {
            rule.id: Covered(rule.id, tracer.parts[0], (FITS, REFUSES))
            for rule, tracer in rules.rules
            if rule.effect is RuleEffect.LIMIT
        }
        self.items = sorted(
            [*self._conditions.values(), *self._limits.values()],
            key=lambda each: (each.rule, each.part.line, each.part.column),
        )

    def record(self, results: Iterable[FixtureResult]) -> None:
        """Record the outcomes in the calls of these tests."""
        for result in results:
            for rule, outcome in result.limits:
                self._limits[rule].seen.add(outcome)
            for values in result.inputs:
                for _, parts in self._rules.values(values):
                    for traced in parts:
                        is_bool = isinstance(traced.value, bool) and traced.part.is_condition
                        if is_bool and traced.reached:
                            outcome = _outcome(value=traced.value)
                            self._conditions[id(traced.part)].seen.add(outcome)

    def percent(self) -> int:
        """Return how many of the possible outcomes were recorded, in whole percent."""
        possible = sum(len(each.possible) for each in self.items)
        missing = sum(len(each.missing) for each in self.items)
        return 100 * (possible - missing) // possible if possible else 100


def _conditions(rules: RuleTraces) -> Iterator[Covered]:
    """Yield every condition. A literal `true` or `false` has no other outcome."""
    both = (_outcome(value=True), _outcome(value=False))
    for rule, tracer in rules.rules:
        for part in tracer.parts:
            if part.is_condition:
                yield Covered(rule.id, part, (part.text,) if is_literal(part.tree) else both)


def _outcome(*, value: bool) -> str:
    return "true" if value else "false"
