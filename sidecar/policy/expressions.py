"""Expressions: CEL, checked by both engines, bounded in steps, and compiled by the serving one."""

import re
from dataclasses import dataclass

from sidecar.policy.cel import (
    cel_errors,
    cel_python,
    evaluation_steps,
    literal_checks,
    portable,
    syntax,
    variables,
)
from sidecar.policy.cel.cel_python import CelPythonEngine
from sidecar.policy.cel.engine import CelError, Engine, EvaluationError, Program, ResultKind
from sidecar.policy.cel.sizes import Largest
from sidecar.policy.cel.syntax import Tree

_NO_ZONE = "a time zone needs its file in the system's tzdata; docs/deploy.md has the image's"


@dataclass(frozen=True, slots=True, eq=False)
class Expression:
    """A compiled CEL expression; `reads` are the variables in it."""

    source: str
    program: Program
    reads: frozenset[str]

    field: tuple[str, str] | None
    """Its variable and field, if it is only a field access such as `principal.id`."""

    @property
    def from_data(self) -> bool:
        """Whether it depends on the data files alone, not on the request."""
        return self.reads <= variables.FROM_DATA


class ExpressionCompiler:
    """Compiles for one engine what both engines accept and evaluate alike."""

    def __init__(
        self, engine: Engine, parser: CelPythonEngine, checker: Engine | None, largest: Largest
    ) -> None:
        """Compile with `engine`, check with the other two, and bound steps by `largest`."""
        self._engine = engine
        self._parser = parser
        self._checker = checker
        self._largest = largest
        self._looked_up: set[str] = set()

    def compile(self, source: str, kind: ResultKind) -> Expression:
        """Compile an expression. Raises CelError, whose place is in the expression."""
        cel_errors.check_brackets(source)
        # The checker runs first: the parser takes very long on some texts that the
        # checker refuses at once, such as an unterminated string.
        checked = None if self._checker is None else self._checker.compile(source, kind)
        tree = self._parser.parse(source)
        portable.check(tree, source, self._checker)
        evaluation_steps.check(tree, source, self._largest)
        double = _reads_money(source) if checked is None else checked.double
        program = self._engine.compile(source, kind, double=double)
        self._look_up(tree)
        reads = cel_python.roots(tree)
        return Expression(source, program, reads, variables.text_field(source))

    def _look_up(self, tree: Tree) -> None:
        """Refuse literals that the serving engine cannot look up: they would fail at each call."""
        for condition, literal, node in literal_checks.lookups(tree):
            if condition in self._looked_up:
                continue
            try:
                program = self._engine.compile(condition, ResultKind.CONDITION)
                program.evaluate(self._engine.bind(variables.no_call()))
            except EvaluationError:
                message = f"{self._engine.name} cannot read {literal} on this machine"
                raise CelError(message, *syntax.place(node), _NO_ZONE) from None
            self._looked_up.add(condition)


def _reads_money(source: str) -> bool:
    """Guess whether numbers are doubles, without a type checker."""
    return re.search(r"_usd\b|\d\.\d|\bdouble\(", source) is not None
