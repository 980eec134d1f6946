"""Policy sets: the rules and data of a directory, compiled into an immutable snapshot."""

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, tzinfo
from pathlib import Path
from typing import NamedTuple

from sidecar.domain.decisions import Limit, Meter
from sidecar.domain.share import WHOLE, Share
from sidecar.policy.any_of import AnyOf
from sidecar.policy.catalogue import Catalogue
from sidecar.policy.cel.cel_python import CelPythonEngine
from sidecar.policy.cel.engine import Engine
from sidecar.policy.cel.sizes import Largest
from sidecar.policy.cel.variables import SPEND, TODAY
from sidecar.policy.expressions import ExpressionCompiler
from sidecar.policy.files import data, directory
from sidecar.policy.files.directory import PolicyFiles
from sidecar.policy.files.problems import PolicyError, Problem
from sidecar.policy.files.timeout import with_timeout
from sidecar.policy.rules import Rule, RuleEffect, RuleReader, unknown_spend_limits

ENGINES = ("cel-cpp", "cel-python")

Entries = tuple[str, str, str, str]
"""The names of a role, a workspace, a model and a key."""

MAX_RESIDUALS = 10_000
"""Combinations of entries whose residual a policy set caches."""


class ResidualLimit(NamedTuple):
    """A limit rule, with its ceiling and limit where these depend on the data files alone.

    The ceiling is a tuple of one, because None is unlimited. It is not yet divided into shares.
    """

    rule: Rule
    ceiling: tuple[int | None] | None
    limit: Limit | None


@dataclass(frozen=True, slots=True)
class Residual:
    """The rules partially evaluated by the data files, for one role, workspace, model and key.

    It is computed on the first such call.
    """

    denials: tuple[Rule, ...]
    """Without those that are never true for these entries."""
    certain_denials: tuple[Rule, ...]
    """Those that are true or fail for every call."""
    allowed: bool
    allowances: tuple[Rule, ...]
    """Only those that depend on the request."""
    limits: tuple[ResidualLimit, ...]


class PolicySet:
    """A compiled policy directory; immutable, except for its cache of residuals."""

    def __init__(
        self,
        digest: str,
        generation: int,
        engine: Engine,
        rules: Sequence[Rule],
        entries: data.Data,
        share: Share = WHOLE,
        zone: tzinfo = UTC,
    ) -> None:
        """Prepare the entries, and group the rules by their effects."""
        self.digest = digest
        self.generation = generation
        self.engine = engine
        self.share = share
        self.zone = zone
        """The time zone in which a day begins: of limits, and of `today` in rules."""
        self.entries = entries
        self.catalogue = Catalogue(entries)
        self._group(rules)

    def only(self, *rules: Rule) -> "PolicySet":
        """Return a set with the same entries, and only these of its rules: for tools."""
        part = copy.copy(self)
        PolicySet._group(part, rules)
        return part

    def _group(self, rules: Sequence[Rule]) -> None:
        self.rules = tuple(rules)
        self.allowances = tuple(
            rule for rule in rules if rule.effect is RuleEffect.ALLOW and not rule.shadow
        )
        self.shadow_allowances = tuple(
            rule for rule in rules if rule.effect is RuleEffect.ALLOW and rule.shadow
        )
        self.denials = tuple(rule for rule in rules if rule.effect is RuleEffect.DENY)
        on_request = [rule.body for rule in self.denials if not rule.body.from_data]
        # Within one expression `unlimited` has one type: an int in the first of these, a double
        # in the second.
        self.request_denials = [
            AnyOf(
                self.engine, [body.source for body in on_request if body.program.double is double]
            )
            for double in (False, True)
        ]
        self.limits = tuple(rule for rule in rules if rule.effect is RuleEffect.LIMIT)
        self.counts_cost = any(
            rule.limit is not None and rule.limit.meter is Meter.COST and not rule.shadow
            for rule in self.limits
        )
        self.needs_price = self.counts_cost or any(
            expression.reads_price
            for rule in self.rules
            if not rule.shadow
            for expression in rule.expressions
        )
        """Whether a call without a price is denied: a limit counts its cost, or a rule reads it."""
        self.reads_price = any(
            expression.reads_price for rule in self.rules for expression in rule.expressions
        )
        reads = {
            name for rule in rules for expression in rule.expressions for name in expression.reads
        }
        self.reads_spend, self.reads_today = SPEND in reads, TODAY in reads
        self.residuals: dict[Entries, Residual] = {}

    def cache_residual(self, entries: Entries, residual: Residual) -> None:
        """Cache a residual; concurrent calls compute the same one."""
        if len(self.residuals) >= MAX_RESIDUALS:
            self.residuals.clear()
        self.residuals[entries] = residual


def load(
    path: Path,
    engine_name: str = "cel-cpp",
    generation: int = 1,
    share: Share = WHOLE,
    zone: tzinfo = UTC,
) -> PolicySet:
    """Read and compile a policy directory, for a sidecar with this share of its ceilings.

    Raises PolicyError with all problems, or on timeout, and ValueError if the engine is
    not available on this machine.
    """
    return with_timeout(
        str(path),
        lambda: compile_files(directory.read(path), engine_name, generation, share, zone),
    )


def compile_files(
    files: PolicyFiles,
    engine_name: str,
    generation: int,
    share: Share = WHOLE,
    zone: tzinfo = UTC,
) -> PolicySet:
    """Compile the files of a policy directory, without a timeout.

    Raises what `load` raises.
    """
    parser = CelPythonEngine()
    checker = cel_cpp()  # it checks types, also where cel-python evaluates
    if engine_name == "cel-cpp" and checker is None:
        raise ValueError("cel-cpp has no wheel for this machine: use --engine cel-python")
    engine = checker if engine_name == "cel-cpp" and checker is not None else parser
    entries, problems = data.read(files.data)
    reader = RuleReader(
        ExpressionCompiler(engine, parser, checker, largest(files, entries), entries.lists)
    )
    rules = _compile(files, reader, problems)
    return PolicySet(files.digest, generation, engine, rules, entries, share, zone)


def largest(files: PolicyFiles, entries: data.Data) -> Largest:
    """Return bounds on the sizes of the values that these rules can read."""
    return Largest(Catalogue(entries).messages(), len(files.rules), entries.lists)


def _compile(files: PolicyFiles, reader: RuleReader, problems: list[Problem]) -> list[Rule]:
    """Compile the rules. Raises PolicyError with all problems, those of data files included."""
    problems += files.problems
    rules: list[Rule] = []
    for file, text in sorted(files.rules.items()):
        rule, wrong = reader.read(file, text)
        problems += wrong
        if rule is not None:
            rules.append(rule)
    limits = {rule.id for rule in rules if rule.effect is RuleEffect.LIMIT}
    for rule in rules if not problems else []:
        problems += unknown_spend_limits(rule, files.rules[f"{rule.id}.cel"], limits)
    if problems:
        raise PolicyError(problems)
    return rules


def cel_cpp() -> Engine | None:
    """Return the cel-cpp engine, or None on a machine for which it has no wheel."""
    try:
        from sidecar.policy.cel.cel_cpp import CelCppEngine  # noqa: PLC0415 - not available everywhere
    except ImportError:
        return None
    return CelCppEngine()
