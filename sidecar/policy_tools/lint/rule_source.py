"""The source of a rule: its text and syntax trees, for warnings with a line and column."""

from collections.abc import Mapping
from dataclasses import dataclass

from sidecar.policy.cel.cel_python import CelPythonEngine
from sidecar.policy.cel.syntax import Tree
from sidecar.policy.files import header
from sidecar.policy.files.problems import Problem, at
from sidecar.policy.policy_set import PolicySet
from sidecar.policy.rules import Rule


@dataclass(frozen=True, slots=True)
class RuleSource:
    """One rule, with the syntax tree of its body and, if it is a limit, of its scope."""

    rule: Rule
    text: str
    body: Tree
    scope: Tree | None

    @property
    def per(self) -> str:
        """A limit's scope expression, normalized; "" for other rules."""
        return "" if self.rule.limit is None else " ".join(self.rule.limit.per.source.split())

    def warn(self, warning: str, message: str, hint: str = "") -> Problem:
        """Return a warning about the whole rule, at the start of its expression."""
        return self.warn_at(self.body, warning, message, hint)

    def warn_at(self, tree: Tree, warning: str, message: str, hint: str = "") -> Problem:
        """Return a warning about a part of the body."""
        return self._warn(tree.meta.line, tree.meta.column, warning, message, hint)

    def warn_in_scope(self, tree: Tree, warning: str, message: str, hint: str = "") -> Problem:
        """Return a warning about a part of the scope, in the header."""
        per = header.parse(self.rule.id, self.text)[0]["per"]
        return self._warn(per.line, per.column + tree.meta.column - 1, warning, message, hint)

    def _warn(self, line: int, column: int, warning: str, message: str, hint: str) -> Problem:
        return at(f"{self.rule.id}.cel", self.text, line, column, message, hint).as_warning(warning)


def sources(texts: Mapping[str, str], policy: PolicySet) -> list[RuleSource]:
    """Return the source of every rule; `texts` are the rule files by name."""
    parse = CelPythonEngine().parse
    return [
        RuleSource(
            rule,
            texts[f"{rule.id}.cel"],
            parse(rule.body.source),
            None if rule.limit is None else parse(rule.limit.per.source),
        )
        for rule in policy.rules
    ]
