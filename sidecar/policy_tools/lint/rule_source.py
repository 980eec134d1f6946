"""The source of a rule: its text and syntax trees, for warnings with a line and column."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import Enum

from sidecar.policy.cel.cel_python import CelPythonEngine
from sidecar.policy.cel.syntax import Tree
from sidecar.policy.expressions import Expression
from sidecar.policy.files import header
from sidecar.policy.files.problems import Problem, at
from sidecar.policy.policy_set import PolicySet
from sidecar.policy.rules import PLACEHOLDER, Rule


class Use(Enum):
    """What an expression of a rule is for."""

    BODY = "body"
    SCOPE = "per"
    MESSAGE = "message"


@dataclass(frozen=True, slots=True)
class SourceExpression:
    """One expression of a rule, with its syntax tree, and the place where it starts."""

    use: Use
    expression: Expression
    tree: Tree
    line: int
    column: int

    @property
    def source(self) -> str:
        """The text of the expression."""
        return self.expression.source

    def place(self, tree: Tree) -> tuple[int, int]:
        """Return the line and column of a part, in the file."""
        first = tree.meta.line == 1
        return self.line + tree.meta.line - 1, tree.meta.column + (self.column - 1 if first else 0)


@dataclass(frozen=True, slots=True)
class RuleSource:
    """One rule, with all its expressions; the first is its body."""

    rule: Rule
    text: str
    expressions: tuple[SourceExpression, ...]

    @property
    def body(self) -> Tree:
        """The syntax tree of the body."""
        return self.expressions[0].tree

    @property
    def per(self) -> str:
        """A limit's scope expression, normalized; "" for other rules."""
        return "" if self.rule.limit is None else " ".join(self.rule.limit.per.source.split())

    def warn(self, warning: str, message: str, hint: str = "") -> Problem:
        """Return a warning about the whole rule, at the start of its expression."""
        return self.warn_at(self.body, warning, message, hint)

    def warn_at(self, tree: Tree, warning: str, message: str, hint: str = "") -> Problem:
        """Return a warning about a part of the body."""
        return self.warn_in(self.expressions[0], tree, warning, message, hint)

    def warn_in(
        self, inside: SourceExpression, tree: Tree, warning: str, message: str, hint: str = ""
    ) -> Problem:
        """Return a warning about a part of one of the expressions."""
        file, (line, column) = f"{self.rule.id}.cel", inside.place(tree)
        return at(file, self.text, line, column, message, hint).as_warning(warning)


def sources(texts: Mapping[str, str], policy: PolicySet) -> list[RuleSource]:
    """Return the source of every rule; `texts` are the rule files by name."""
    parser = CelPythonEngine()
    return [
        RuleSource(rule, text, tuple(_expressions(rule, text, parser)))
        for rule in policy.rules
        for text in (texts[f"{rule.id}.cel"],)
    ]


def _expressions(rule: Rule, text: str, parser: CelPythonEngine) -> Iterator[SourceExpression]:
    """Yield the body, which is the whole file to CEL, and the expressions of the header."""
    yield SourceExpression(Use.BODY, rule.body, parser.parse(rule.body.source), 1, 1)
    entries = header.parse(rule.id, text)[0]
    if rule.limit is not None:
        per, place = rule.limit.per, entries["per"]
        tree = parser.parse(per.source)
        yield SourceExpression(Use.SCOPE, per, tree, place.line, place.column)
    filled_in = [part for part in rule.message.parts if isinstance(part, Expression)]
    if filled_in:
        place = entries["message"]
        for part, found in zip(filled_in, PLACEHOLDER.finditer(place.value), strict=True):
            column = place.column + found.start(1)
            tree = parser.parse(part.source)
            yield SourceExpression(Use.MESSAGE, part, tree, place.line, column)
