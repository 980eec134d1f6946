"""Lint of patterns without `^` or `$` where a match gives access: any part of a text matches."""

import re
from collections.abc import Iterator

from sidecar.policy.cel.operators import call_of, literal_of, negated
from sidecar.policy.cel.syntax import Tree, arguments, bare, children
from sidecar.policy.files.problems import Problem
from sidecar.policy.rules import RuleEffect
from sidecar.policy_tools.lint.rule_source import RuleSource

_FLAGS = re.compile(r"\(\?[a-zA-Z]+\)")
_PART = re.compile(r"\\.|\[\^?\]?(?:\\.|[^\]\\])*\]|.", re.DOTALL)
"""One escape, class or character of a pattern."""


def lint(source: RuleSource) -> Iterator[Problem]:
    """Warn of patterns with an open end: in allow rules, and in deny rules under `!`."""
    if source.rule.effect is RuleEffect.LIMIT:
        return
    for tree, pattern in _opening(source.body, opens=source.rule.effect is RuleEffect.ALLOW):
        if not all(map(_has_both_ends, _alternatives(pattern))):
            message = "matches() finds this anywhere in a text, so more than it says is let through"
            hint = 'say both ends, as in "^(a|b)$"; or `.*` for one that is open, as in "^ml-.*"'
            yield source.warn_at(tree, "no-anchors", message, hint)


def _opening(tree: Tree, *, opens: bool) -> Iterator[tuple[Tree, str]]:
    """Yield the patterns by whose matches a call is let through, with their places."""
    tree = bare(tree)
    operand = negated(tree)
    if operand is not None:
        yield from _opening(operand, opens=not opens)
        return
    called = call_of(tree)
    if opens and called is not None and called[1] == "matches":
        pattern = arguments(tree)[0]
        text = literal_of(pattern)
        if isinstance(text, str):
            yield bare(pattern), text
    for child in children(tree):
        yield from _opening(child, opens=opens)


def _alternatives(pattern: str) -> list[list[str]]:
    """Split a pattern at each `|` outside of groups, into parts."""
    depth, found = 0, [[]]  # type: tuple[int, list[list[str]]]
    for part in _PART.findall(
        _FLAGS.sub("", pattern, count=1) if _FLAGS.match(pattern) else pattern
    ):
        depth += (part == "(") - (part == ")")
        if part == "|" and depth == 0:
            found.append([])
        else:
            found[-1].append(part)
    return found


def _has_both_ends(parts: list[str]) -> bool:
    start = parts[:1] in (["^"], [r"\A"]) or parts[:2] == [".", "*"]
    end = parts[-1:] in (["$"], [r"\z"]) or parts[-2:] == [".", "*"]
    return start and end
