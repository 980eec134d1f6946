"""Dependencies: the inputs that rules read, and the values they compare them with.

An example. A set has a limit `month` with `per: workspace.name`, and a deny rule `late` with

    principal.labels.team == "web" && spend["month"].fraction >= 0.8

Its dependencies are

    inputs["late"]       {("label", "team"), ("spend", "month")}
    inputs_of("late")    the same, and ("workspace", ""), which the limit reads
    labels["team"]       {"web"}
    shares["month"]      {4/5}

So the diff tries callers of the team "web", of another team and of none, each with a month of
which nothing, just under 80 %, 80 %, just over 80 %, or all is spent. `rule_reader.py` finds the
dependencies.
"""

from collections import defaultdict
from dataclasses import dataclass, field
from fractions import Fraction

from sidecar.policy.cel.variables import SPEND

NO_KEY, UNKNOWN = "", "(unknown)"
"""Of keys; a set without any role, workspace or model is tried with one that is unknown, too."""

Input = tuple[str, str]
"""What a case sets, and rules read: ROLE, WORKSPACE, KEY, CALL, or a label or a limit's spend
with its name."""

LABEL = "label"
ALL_LABELS = (LABEL, "")
ROLE, WORKSPACE, KEY, CALL = ("role", ""), ("workspace", ""), ("key", ""), ("call", "")
"""A call is a model, by one of its names, at an endpoint."""


@dataclass(frozen=True, slots=True, order=True)
class Inexact:
    """A rule that reads an input in a way that the diff cannot enumerate exactly."""

    rule: str
    reads: str


@dataclass(slots=True)
class Dependencies:
    """The inputs that rules read, with the values that they distinguish."""

    labels: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    keys: set[str] = field(default_factory=set)
    key_kinds: bool = False
    """A rule reads fields that keys have in common, such as the state: one key of each kind."""
    each_key: bool = False
    """A rule reads more of a key, such as its id: each key is tried."""
    endpoint: bool = False
    model_name: bool = False
    shares: dict[str, set[Fraction]] = field(default_factory=lambda: defaultdict(set))
    amounts: dict[str, set[int]] = field(default_factory=lambda: defaultdict(set))
    """How much of a limit is spent, by its id: shares of its ceiling, and what it counts."""
    doubts: set[Inexact] = field(default_factory=set)
    inputs: dict[str, set[Input]] = field(default_factory=lambda: defaultdict(set))
    """What each rule reads, by its id."""

    def inputs_of(self, rule_id: str) -> frozenset[Input]:
        """Return what a rule reads; where it reads a limit's spend, what the limit reads, too."""
        found = set(self.inputs[rule_id])
        for kind, name in self.inputs[rule_id]:
            if kind == SPEND:
                found |= self.inputs[name]
        if ALL_LABELS in found:
            found |= {(LABEL, name) for name in self.labels}
        return frozenset(found)
