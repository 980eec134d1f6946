"""All rules and data of one directory, compiled into one immutable snapshot."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from sidecar.domain.decisions import Limit, Meter
from sidecar.domain.share import WHOLE, Share
from sidecar.policy.any_of import AnyOf
from sidecar.policy.catalogue import Catalogue
from sidecar.policy.cel.cel_python import CelPythonEngine
from sidecar.policy.cel.engine import Engine
from sidecar.policy.cel.sizes import Largest
from sidecar.policy.cel.variables import SPEND
from sidecar.policy.files import data, directory
from sidecar.policy.files.directory import PolicyFiles
from sidecar.policy.files.problems import PolicyError, Problem
from sidecar.policy.files.timeout import with_timeout
from sidecar.policy.rules import Rule, RuleEffect, RuleReader, spend_of_no_limit

ENGINES = ("cel-cpp", "cel-python")

Entries = tuple[str, str, str, str]
"""The names of a role, a workspace, a model and a key."""

MAX_REMEMBERED = 10_000
"""Combinations of entries for which a policy set keeps what the data files decide."""


class ResidualLimit(NamedTuple):
    """A limit, its ceiling and the whole of it, each as far as the data files decide it.

    A ceiling stands in a tuple of one, since None is unlimited. It is not divided into shares.
    """

    rule: Rule
    ceiling: tuple[int | None] | None
    limit: Limit | None


@dataclass(frozen=True, slots=True)
class Residual:
    """What the data files alone decide, for one role, workspace, model and key.

    It is worked out once, on the first such call.
    """

    denials: tuple[Rule, ...]
    """Without those that cannot hold."""
    certain_denials: tuple[Rule, ...]
    """Those of them that hold or fail whatever the call is."""
    allowed: bool
    allowances: tuple[Rule, ...]
    """Only those that depend on the call."""
    limits: tuple[ResidualLimit, ...]


class PolicySet:
    """A compiled policy directory. What it says never changes once it is made."""

    def __init__(
        self,
        digest: str,
        generation: int,
        engine: Engine,
        rules: Sequence[Rule],
        entries: data.Data,
        share: Share = WHOLE,
    ) -> None:
        """Sort the rules by what they do."""
        self.digest = digest
        self.generation = generation
        self.engine = engine
        self.share = share
        self.catalogue = Catalogue(entries)
        self.rules = tuple(rules)
        self.allowances = tuple(
            rule for rule in rules if rule.effect is RuleEffect.ALLOW and not rule.shadow
        )
        self.trial_allowances = tuple(
            rule for rule in rules if rule.effect is RuleEffect.ALLOW and rule.shadow
        )
        self.denials = tuple(rule for rule in rules if rule.effect is RuleEffect.DENY)
        of_calls = [rule.body for rule in self.denials if not rule.body.from_data]
        self.any_denial_of_calls = [  # `unlimited` has one type within an expression
            AnyOf(engine, [body.source for body in of_calls if body.program.double is double])
            for double in (False, True)
        ]
        self.limits = tuple(rule for rule in rules if rule.effect is RuleEffect.LIMIT)
        self.counts_cost = any(
            rule.limit is not None and rule.limit.meter is Meter.COST and not rule.shadow
            for rule in self.limits
        )
        self.reads_spend = any(
            SPEND in expression.reads for rule in rules for expression in rule.expressions
        )
        self.residuals: dict[Entries, Residual] = {}

    def remember(self, entries: Entries, known: Residual) -> None:
        """Keep what the data files decide; it is the same whoever works it out."""
        if len(self.residuals) >= MAX_REMEMBERED:
            self.residuals.clear()
        self.residuals[entries] = known


def load(
    path: Path, engine_name: str = "cel-cpp", generation: int = 1, share: Share = WHOLE
) -> PolicySet:
    """Read and compile a policy directory, for a sidecar that has a share of its ceilings.

    Raises PolicyError with all that is wrong, or when it takes too long, and
    ValueError when the engine is not to be had on this machine.
    """
    return with_timeout(
        str(path), lambda: compile_files(directory.read(path), engine_name, generation, share)
    )


def compile_files(
    files: PolicyFiles, engine_name: str, generation: int, share: Share = WHOLE
) -> PolicySet:
    """Compile what was read from a policy directory, in as much time as it takes.

    Raises what `load` raises.
    """
    parser = CelPythonEngine()
    checker = cel_cpp()
    if engine_name == "cel-cpp" and checker is None:
        raise ValueError("cel-cpp has no wheel for this machine: use --engine cel-python")
    engine = checker if engine_name == "cel-cpp" and checker is not None else parser
    entries, problems = data.read(files.data)
    reader = RuleReader(engine, parser, checker, largest(files, entries))
    rules = _compile(files, reader, problems)
    return PolicySet(files.digest, generation, engine, rules, entries, share)


def largest(files: PolicyFiles, entries: data.Data) -> Largest:
    """Return how large the values can be that the rules of these files see."""
    return Largest(Catalogue(entries).messages(), limits=len(files.rules))


def _compile(files: PolicyFiles, reader: RuleReader, problems: list[Problem]) -> list[Rule]:
    """Read the rules. Raises PolicyError with all that is wrong, in data files, too."""
    problems += files.problems
    rules: list[Rule] = []
    for file, text in sorted(files.rules.items()):
        rule, wrong = reader.read(file, text)
        problems += wrong
        if rule is not None:
            rules.append(rule)
    limits = {rule.id for rule in rules if rule.effect is RuleEffect.LIMIT}
    for rule in rules if not problems else []:
        problems += spend_of_no_limit(rule, files.rules[f"{rule.id}.cel"], limits)
    if problems:
        raise PolicyError(problems)
    return rules


def cel_cpp() -> Engine | None:
    """Return Google's evaluator, or None on a machine for which it has no wheel."""
    try:
        from sidecar.policy.cel.cel_cpp import CelCppEngine  # noqa: PLC0415 - not on every machine
    except ImportError:
        return None
    return CelCppEngine()
