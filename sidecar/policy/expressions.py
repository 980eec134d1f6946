"""Expressions: CEL, checked by both engines, bounded in steps, and compiled by the serving one."""

import re
from collections.abc import Collection
from dataclasses import dataclass

from sidecar.policy.cel import (
    cel_errors,
    cel_python,
    evaluation_steps,
    literal_checks,
    literals,
    portable,
    syntax,
    variables,
)
from sidecar.policy.cel.cel_python import CelPythonEngine
from sidecar.policy.cel.engine import CelError, Engine, EvaluationError, Program, ResultKind
from sidecar.policy.cel.sizes import Largest
from sidecar.policy.cel.syntax import Tree
from sidecar.policy.files.problems import did_you_mean

_NO_ZONE = "a time zone needs its file in the system's tzdata; docs/deploy.md has the image's"


@dataclass(frozen=True, slots=True, eq=False)
class Expression:
    """A compiled CEL expression; `reads` are the variables in it."""

    source: str
    program: Program
    reads: frozenset[str]

    reads_price: bool
    """Whether it reads what the call or its model costs, so that it needs a price in force."""

    field: tuple[str, str] | None
    """Its variable and field, if it is only a field access such as `principal.id`."""

    @property
    def from_data(self) -> bool:
        """Whether it depends on the data files alone, not on the request."""
        return self.reads <= variables.FROM_DATA


class ExpressionCompiler:
    """Compiles for one engine what both engines accept and evaluate alike."""

    def __init__(
        self,
        engine: Engine,
        parser: CelPythonEngine,
        checker: Engine | None,
        largest: Largest,
        lists: Collection[str] = (),
    ) -> None:
        """Compile with `engine`, check with the other two, and bound steps by `largest`.

        `lists` are the names of the lists that expressions may read.
        """
        self._lists = lists
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
        self._check_lists(tree)
        evaluation_steps.check(tree, source, self._largest)
        double = _reads_money(source) if checked is None else checked.double
        program = self._engine.compile(source, kind, double=double)
        self._look_up(tree)
        reads = cel_python.roots(tree)
        reads_price = variables.PRICE in reads or variables.MAX_COST in _fields(tree)
        return Expression(source, program, reads, reads_price, variables.text_field(source))

    def _check_lists(self, tree: Tree) -> None:
        """Refuse lists that are not in the data, and names that are computed."""
        named = 0
        for node in tree.iter_subtrees():
            if node.data not in ("member_dot", "member_index"):
                continue
            holder = syntax.children(node)[0]
            if syntax.path(holder) != [variables.LISTS]:
                continue
            if node.data == "member_dot":
                name = str(node.children[1])
            else:
                index = syntax.children(node)[1]
                literal = syntax.words(index) if syntax.is_literal(index) else ""
                name = literals.text(literal) if literals.is_portable(literal) else ""
            if name not in self._lists:
                message = f"no list is named '{name}'" if name else "a list's name is a literal"
                hint = did_you_mean(name, self._lists) or 'as in lists["oncall"]'
                raise CelError(message, *syntax.place(node), hint)
            named += 1
        roots = [node for node in tree.iter_subtrees() if syntax.is_name(node, variables.LISTS)]
        if len(roots) > named:
            hint = 'as in principal.id in lists["oncall"]'
            raise CelError("one list is read, by its name", *syntax.place(roots[0]), hint)

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


def _fields(tree: Tree) -> set[str]:
    """Return the names of all fields that an expression reads, of whatever value."""
    return {str(node.children[1]) for node in tree.iter_subtrees() if node.data == "member_dot"}


def _reads_money(source: str) -> bool:
    """Guess whether numbers are doubles, without a type checker."""
    return re.search(r"_usd\b|\d\.\d|\bdouble\(", source) is not None
