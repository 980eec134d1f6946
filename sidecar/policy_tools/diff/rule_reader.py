"""The rule reader: finds the dependencies of rules in their syntax trees.

A rule's formatting makes no difference. See `dependencies.py` for what is found, with an example.
"""

import ast
import math
from collections.abc import Iterable
from enum import Enum
from fractions import Fraction
from typing import Any

import lark

from sidecar.policy.cel.syntax import Tree, bare, children
from sidecar.policy.cel.variables import NAMES, SPEND
from sidecar.policy.policy_set import PolicySet
from sidecar.policy.rules import Rule
from sidecar.policy_tools.diff.data_values import DataValues
from sidecar.policy_tools.diff.dependencies import (
    ALL_LABELS,
    CALL,
    KEY,
    LABEL,
    ROLE,
    WORKSPACE,
    Dependencies,
    Inexact,
)

_OF_VARIABLE = {"role": ROLE, "workspace": WORKSPACE, "key": KEY, "model": CALL, "request": CALL}

_NAMES, _SIZES = {"endpoint", "model"}, {"max_output_tokens", "tokens"}
"""Fields of a request that are tried with every name, and for the largest that passes."""

_EQUAL = {"relation_eq", "relation_ne", "relation_in"}

_Meets = Enum("_Meets", ["ANYTHING", "EQUAL", "ORDER", "KEY", "HAS", "SCOPE"])
"""What is done with a part of an expression. EQUAL: it is compared for equality, or looked for in a
list. ORDER: it is compared by size. KEY: a key is looked for in it. HAS: it is tested by has().
SCOPE: a limit counts by it, which decides no call. ANYTHING: anything else."""


def read(*policies: PolicySet) -> Dependencies:
    """Return the dependencies of the policy sets' rules; messages do not count."""
    found = Dependencies()
    for policy in policies:
        data = DataValues(policy)
        for rule in policy.rules:
            if not rule.shadow or (rule.limit is not None and policy.reads_spend):
                _RuleReader(rule, data, found).read()
    return found


class _RuleReader:
    """Walks over the expressions of one rule, and notes what they read."""

    def __init__(self, rule: Rule, data: DataValues, found: Dependencies) -> None:
        self._rule, self._data, self._found = rule, data, found
        self._inputs = found.inputs[rule.id]
        self._texts: list[Tree] = []
        self._unlisted: list[set[str]] = []

    def read(self) -> None:
        """Note what the rule reads.

        An input that is not just compared with texts is tried with every text of the rule.
        """
        reads = set(self._rule.body.reads)
        self._visit(self._data.parser.parse(self._rule.body.source))
        if self._rule.limit is not None:
            reads |= self._rule.limit.per.reads
            scope = self._data.parser.parse(self._rule.limit.per.source)
            self._visit(scope, _Meets.SCOPE)
        self._inputs |= {_OF_VARIABLE[name] for name in reads & _OF_VARIABLE.keys()}
        if not self._unlisted:
            return
        values = {value for tree in self._texts for value in self._data.values(tree) or ()}
        for tried in self._unlisted:
            tried.update(_texts(values) - self._found.labels.keys())

    def _visit(
        self, tree: Tree, meets: _Meets = _Meets.ANYTHING, other: Tree | None = None
    ) -> None:
        """Walk down; `other` is what the part is compared with, or looked for in it."""
        node = bare(tree)
        path = _path(node)
        parts = children(node)
        if path:
            self._note(path, node, meets, other)
        elif node.data == "literal":
            self._texts.append(node)
        elif node.data == "relation":
            left, right = children(parts[0])[0], parts[1]
            equal = _Meets.EQUAL if parts[0].data in _EQUAL else _Meets.ORDER
            self._visit(left, equal, right)
            self._visit(right, _Meets.KEY if parts[0].data == "relation_in" else equal, left)
        elif node.data == "member_index":
            self._index(parts[0], parts[1], meets, other)
        elif node.data == "ident_arg" and str(node.children[0]) == "has":
            self._visit(children(parts[0])[0], _Meets.HAS)
        elif node.data == "expr":  # condition ? one : other
            self._visit(parts[0])
            for part in parts[1:]:
                self._visit(part, meets, other)
        else:
            is_scope = node.data in ("addition", "addition_add") and meets is _Meets.SCOPE
            for part in parts:
                self._visit(part, meets if is_scope else _Meets.ANYTHING)

    def _index(self, over: Tree, index: Tree, meets: _Meets, other: Tree | None) -> None:
        """Note `over[index]`, where the index is not just a text."""
        self._visit(index, _Meets.EQUAL, over)
        if _path(over) != ["principal", "labels"]:
            self._visit(over)
            return
        for name in self._label_names(index):
            self._label(name, meets, other)

    def _note(self, path: list[str], node: Tree, meets: _Meets, other: Tree | None) -> None:
        match path:
            case ["principal", *fields]:
                self._principal(fields, meets, other)
            case ["key", "state" | "workspace" | "allowed_models" | "requests_per_minute"]:
                self._found.key_kinds = True
            case ["key", "expires"] if other is not None and _path(other) == ["now"]:
                self._found.key_kinds = True
            case ["key"] | ["key", "id"]:
                self._key_id(meets, other if len(path) > 1 else None)
            case ["key", *_]:
                self._found.each_key = True
            case ["request", *fields]:
                self._request(fields, meets)
            case ["spend", *steps]:
                self._spend(steps, meets, other)
            case ["now" | "today" | "role" | "workspace" | "model" as whole]:
                self._doubt(whole, meets)  # not just a field: no telling what of it
            case _:
                self._texts.append(node)

    def _principal(self, fields: list[str], meets: _Meets, other: Tree | None) -> None:
        match fields:
            case ["labels", name]:
                self._label(name, meets, other)
            case ["labels"] if meets is _Meets.KEY and other is not None:
                for name in self._label_names(other):
                    self._label(name, _Meets.HAS, None)
            case ["labels"]:
                self._inputs.add(ALL_LABELS)
                self._doubt("labels", meets)
            case ["id"]:
                self._doubt("principal.id", meets)
            case ["key_id"]:
                self._key_id(meets, other)
            case []:
                self._inputs |= {ALL_LABELS, ROLE, WORKSPACE}
                self._doubt("principal", meets)
                self._key_id(meets, None)
            case _:
                self._inputs.add((fields[0], ""))  # role or workspace: that of the entry

    def _doubt(self, reads: str, meets: _Meets) -> None:
        if meets is not _Meets.SCOPE:
            self._found.doubts.add(Inexact(self._rule.id, reads))

    def _equals(self, reads: str, meets: _Meets, other: Tree | None) -> set[str] | None:
        """Return the texts that a part is compared with; None, and a doubt, if they are unknown."""
        values = self._data.values(other) if other and meets is _Meets.EQUAL else None
        if values is None:
            self._doubt(reads, meets)
            return None
        return _texts(values)

    def _label_names(self, tree: Tree) -> set[str]:
        """Return the labels that a part names; all are read if it may name any."""
        names = self._equals("labels", _Meets.EQUAL, tree)
        if names is None:
            self._inputs.add(ALL_LABELS)
        return names or set()

    def _label(self, name: str, meets: _Meets, other: Tree | None) -> None:
        """Note a label, with its texts, unless it only has to exist: in has(), or as a scope."""
        self._inputs.add((LABEL, name))
        values = self._found.labels[name]
        if meets not in (_Meets.HAS, _Meets.SCOPE):
            self._add_texts(values, "labels", meets, other)

    def _key_id(self, meets: _Meets, other: Tree | None) -> None:
        self._inputs.add(KEY)
        if meets is not _Meets.SCOPE:
            self._found.each_key = True
            self._add_texts(self._found.keys, "the key", meets, other)

    def _add_texts(self, values: set[str], reads: str, meets: _Meets, other: Tree | None) -> None:
        """Add the texts that a part is compared with; all texts of the rule if they are unknown."""
        equals = self._equals(reads, meets, other)
        if equals is None:
            self._unlisted.append(values)
        else:
            values |= equals

    def _request(self, fields: list[str], meets: _Meets) -> None:
        self._found.endpoint |= fields in ([], ["endpoint"])
        self._found.model_name |= fields in ([], ["model"])
        is_size = self._rule.limit is None and meets is not _Meets.EQUAL
        if not set(fields) & (_NAMES | (_SIZES if is_size else set())):
            self._doubt(".".join(["request", *fields]), meets)

    def _spend(self, steps: list[str], meets: _Meets, other: Tree | None) -> None:
        """Note what a limit's spend is compared with."""
        for limit in steps[:1] or self._data.limits:
            self._inputs.add((SPEND, limit))
            self._found.shares[limit] |= set()  # it is read, whatever it is compared with
        if steps[1:] == ["ceiling"] or meets is _Meets.HAS:
            return
        compared = meets in (_Meets.EQUAL, _Meets.ORDER) and len(steps) > 1
        values = self._data.values(other) if other and compared else None
        if values is None:
            self._doubt("spend", meets)
        numbers = {n for n in values or () if isinstance(n, int | float) and math.isfinite(n)}
        if steps[1:] == ["fraction"]:
            self._found.shares[steps[0]] |= {Fraction(repr(number)) for number in numbers}
        elif numbers:
            self._found.amounts[steps[0]] |= {math.floor(number) for number in numbers}


def _texts(values: Iterable[Any]) -> set[str]:
    return {value for value in values if isinstance(value, str)}


def _path(tree: Tree) -> list[str]:
    """Return the names of `a.b["c"]` where a is a variable of ours; of anything else, none."""
    node = bare(tree)
    if node.data == "ident":
        name = str(node.children[0])
        return [name] if name in NAMES else []
    if node.data not in ("member_dot", "member_index"):
        return []
    over, step = node.children
    path = _path(over) if isinstance(over, lark.Tree) else []
    name = _literal(step) if isinstance(step, lark.Tree) else str(step)
    return [*path, name] if path and name else []


def _literal(tree: Tree) -> str:
    """Return the text that an index is, "" if it is anything else."""
    token = next(iter(bare(tree).children), None)
    is_text = isinstance(token, lark.Token) and token.type == "STRING_LIT"
    return str(ast.literal_eval(str(token))) if is_text else ""
