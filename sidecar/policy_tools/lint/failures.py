"""Lint of calculations that fail for entries of the data files: they are tried with each entry.

Keys that a map may not have are reported by the lints of labels, also where a caller chooses them.
"""

import itertools
import math
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from mistral_spend.v1 import authorization_pb2 as pb

from sidecar.policy.catalogue import Catalogue
from sidecar.policy.cel.cel_python import CelPythonEngine, roots
from sidecar.policy.cel.engine import EvaluationError
from sidecar.policy.cel.operators import call_of, field_of, is_operation, joined
from sidecar.policy.cel.syntax import Tree, bare, children
from sidecar.policy.cel.variables import FROM_DATA, no_call, no_key
from sidecar.policy.files.problems import Problem
from sidecar.policy.static_values import FAILED, MAX_COMBINATIONS
from sidecar.policy_tools.lint.guards import read_of
from sidecar.policy_tools.lint.known_keys import ENTRIES, IN_PRINCIPAL, WITHOUT_KEY, listed
from sidecar.policy_tools.lint.rule_source import RuleSource, SourceExpression, Use

Guards = tuple[tuple[Tree, bool], ...]
"""Conditions around a part, with the value that each has where the part matters."""

_MACROS = {"all", "exists", "exists_one", "map", "filter"}
_NAMED = {("principal", field) for field in IN_PRINCIPAL.values()}
_CALLS = {"member_dot_arg", "ident_arg"}
_OPERATORS = ("relation_", "addition_", "multiplication_", "unary_")
_MAY_FAIL = {"member_index", "addition", "multiplication", "unary"}
_RESULTS = {
    Use.BODY: "this fails",
    Use.SCOPE: "this fails, and so denies,",
    Use.MESSAGE: "this fails, and the message is shown as it is written,",
}


_HINT = "say what applies to those, as in `role.daily_token_budget == unlimited ? … : …`"


class FailureLinter:
    """Evaluates the parts of rules that read the data files alone, with every entry."""

    def __init__(self, catalogue: Catalogue) -> None:
        """Collect the entries by the name that people give them."""
        self._parser = CelPythonEngine()
        models = {model.message.id: model.message for model in catalogue.models.values()}
        self._entries: dict[str, dict[str, Any]] = {
            "role": {name: role.message for name, role in catalogue.roles.items()},
            "workspace": dict(catalogue.workspaces),
            "model": models,
            "key": {**catalogue.keys, WITHOUT_KEY: no_key()},
        }

    def lint(self, source: RuleSource) -> Iterator[Problem]:
        """Warn of each part that fails for some entries."""
        for inside in source.expressions:
            for tree, guards in _calculations(inside.tree, ()):
                yield from self._failing(source, inside, tree, guards)

    def _failing(
        self, source: RuleSource, inside: SourceExpression, tree: Tree, guards: Guards
    ) -> Iterator[Problem]:
        double = inside.expression.program.double
        known = tuple((guard, value) for guard, value in guards if _is_known(guard))
        found: list[Mapping[str, str]] = []
        culprit = tree
        for names, binding in self._bindings([tree, *(guard for guard, _ in known)]):
            reached = all(self._value(g, binding, double=double) is value for g, value in known)
            if reached and self._value(tree, binding, double=double) is FAILED:
                if not found:
                    parts = (p for p in _operations(tree) if self._fails(p, binding, double=double))
                    culprit = next(parts, tree)
                found.append(names)
        if found and read_of(culprit) is None:
            yield source.warn_in(inside, culprit, "no-value", _message(inside.use, found), _HINT)

    def _fails(self, tree: Tree, binding: Any, *, double: bool) -> bool:
        return self._value(tree, binding, double=double) is FAILED

    def _value(self, tree: Tree, binding: Any, *, double: bool) -> Any:
        if tree.data == "ident_arg":  # the call of a function has a value in its wrapper only
            tree = Tree("primary", [tree], tree.meta)
        try:
            return self._parser.evaluate_part(tree, binding, double=double)
        except EvaluationError:
            return FAILED

    def _bindings(self, trees: list[Tree]) -> Iterator[tuple[Mapping[str, str], Any]]:
        """Yield each combination of the entries that these parts read; none if there are many."""
        reads = frozenset[str]().union(*map(roots, trees))
        if "principal" in reads:
            reads |= IN_PRINCIPAL.keys()
        kinds = [kind for kind in ENTRIES if kind in reads]
        if math.prod(len(self._entries[kind]) for kind in kinds) > MAX_COMBINATIONS:
            return
        for chosen in itertools.product(*(self._entries[kind] for kind in kinds)):
            names = dict(zip(kinds, chosen, strict=True))
            values = replace(
                no_call(), **{kind: self._entries[kind][n] for kind, n in names.items()}
            )
            principal = pb.Principal(
                role=values.role.name, workspace=values.workspace.name, key_id=values.key.id
            )
            yield names, self._parser.bind(replace(values, principal=principal))


def _message(use: Use, found: list[Mapping[str, str]]) -> str:
    """Say what happens, and for which entries."""
    entries = (f"{kind} {listed(names[kind] for names in found)}" for kind in found[0])
    return f"{_RESULTS[use]} for {', '.join(entries) or 'every call'}"


def _calculations(tree: Tree, guards: Guards) -> Iterator[tuple[Tree, Guards]]:
    """Yield the largest parts that read the data files alone and may fail, with their guards."""
    tree = bare(tree)
    if is_operation(tree, "conditionaland") or is_operation(tree, "conditionalor"):
        parts = joined(tree, tree.data)
        implied = [(part, tree.data == "conditionaland") for part in parts]
        for index, part in enumerate(parts):
            yield from _calculations(part, (*guards, *implied[:index], *implied[index + 1 :]))
    elif is_operation(tree, "expr"):
        condition, yes, no = children(tree)
        yield from _calculations(condition, guards)
        yield from _calculations(yes, (*guards, (condition, True)))
        yield from _calculations(no, (*guards, (condition, False)))
    elif _is_known(tree):
        if any(True for _ in _operations(tree)):
            yield tree, guards
    else:
        for part in _evaluated(tree):
            yield from _calculations(part, guards)


def _operations(tree: Tree) -> Iterator[Tree]:
    """Yield each operation that may fail, the inner ones first."""
    for part in _evaluated(tree):
        yield from _operations(part)
    if (tree.data in _MAY_FAIL and len(children(tree)) > 1) or tree.data in _CALLS:
        yield tree


def _evaluated(tree: Tree) -> Iterator[Tree]:
    """Yield the parts that have a value by themselves: a macro's have variables of its own."""
    called = call_of(tree) if tree.data == "member_dot_arg" else None
    for part in [called[0]] if called is not None and called[1] in _MACROS else children(tree):
        if part.data in ("exprlist", "mapinits") or part.data.startswith(_OPERATORS):
            yield from children(part)
        else:
            yield part


def _is_known(tree: Tree) -> bool:
    """Whether the entries of the data files determine a part, also by the principal's names."""
    nodes = list(tree.iter_subtrees())
    named = sum(field_of(node) in _NAMED if node.data == "member_dot" else 0 for node in nodes)
    principals = sum(node.data == "ident" and node.children[0] == "principal" for node in nodes)
    return roots(tree) <= FROM_DATA | {"principal"} and named == principals
