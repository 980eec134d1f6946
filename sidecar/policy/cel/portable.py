"""The portable subset of CEL, which both engines evaluate alike; rules are limited to it.

They differ in conversions of strings, in `has()` of a field at its default, in lists of
mixed types, in the order of a map's keys, in errors inside some macros, and in rare
literals. Some of these also take celpy exponential time.
"""

import re

import lark
from google.protobuf.descriptor import FieldDescriptor

from sidecar.policy.cel import literal_checks, literals, syntax, text_functions, variables
from sidecar.policy.cel.engine import CelError, Engine, ResultKind
from sidecar.policy.cel.syntax import Tree
from sidecar.policy.files.problems import did_you_mean

Loops = tuple[tuple[str, str], ...]
"""The macros around a part, outermost first: the text of each one's list, and its variable."""

_FUNCTIONS = {"size", "has"}
_OF_A_NUMBER = {"int", "double"}
_OF_A_LITERAL = {"duration", "timestamp"}
_QUANTIFIERS = {"all", "exists"}
_OTHER_MACROS = {"exists_one", "filter", "map"}
_MACROS = _QUANTIFIERS | _OTHER_MACROS
_PREDICATES = {"contains", "startsWith", "endsWith", "matches"}
_GETTERS = {
    f"get{part}"
    for part in (
        "FullYear", "Month", "Date", "DayOfMonth", "DayOfWeek", "DayOfYear", "Hours", "Minutes",
        "Seconds", "Milliseconds",
    )
}  # fmt: skip
_NUMBER = re.compile(r"-?\d{1,15}(?:\.\d{1,15})?")
_DIVISOR = re.compile(r"(?!-1$)-?(?=.*[1-9])\d+(?:\.\d+)?")
_SEPARATOR = 'split() takes a literal separator, as in split(",")'
_INDEX = re.compile(r"\d{1,9}")
_MAPS = {"labels", "services"}
_NUMBERS = {FieldDescriptor.CPPTYPE_INT64, FieldDescriptor.CPPTYPE_DOUBLE}
_MAY_FAIL = {"member_index", "addition", "multiplication", "ident_arg"}


def check(
    tree: Tree,
    source: str,
    checker: Engine | None,
    names: frozenset[str] = variables.NAMES,
) -> None:
    """Raise CelError at the first construct that the engines may evaluate differently.

    Types are checked only with a `checker`. `names` are the known variables.
    """
    _Check(source, checker, names).walk(tree, ())


class _Check:
    """Walks one expression."""

    def __init__(self, source: str, checker: Engine | None, names: frozenset[str]) -> None:
        self._source = source
        self._checker = checker
        self._names = names

    def walk(self, node: Tree, around: Loops) -> None:  # noqa: C901 - a table of kinds
        """Check a part and all parts in it."""
        match node.data:
            case "literal":
                literal_checks.check_literal(node)
            case "ident":
                self._check_name(node, around)
            case "ident_arg":
                _check_function(node)
            case "member_index":
                self._check_index(node, around)
            case "multiplication" if len(node.children) > 1:
                _check_division(node)
            case "addition" if len(node.children) > 1:
                self._check_sum(node, around)
            case "list_lit" | "map_lit":
                self._check_items(node, around)
            case "dot_ident_arg" | "dot_ident" | "member_object":
                raise syntax.not_portable(node, "leading dots and message literals are not allowed")
            case "member_dot_arg":
                self._walk_method(node, around)
                return
            case _:
                pass
        for part in syntax.children(node):
            self.walk(part, around)

    def _walk_method(self, node: Tree, around: Loops) -> None:
        name, (receiver, *rest) = str(node.children[1]), syntax.children(node)
        arguments = syntax.arguments(node)
        self.walk(receiver, around)
        if name not in _MACROS:
            self._check_method(node, name, receiver, around)
            for part in rest:
                self.walk(part, around)
            return
        variable = self._text(arguments[0])
        if variable in self._names or not variable.isidentifier():
            raise syntax.not_portable(arguments[0], "give the macro's variable a different name")
        if name in _OTHER_MACROS:
            self._check_other_macro(node, name, receiver, around)
        for part in arguments[1:]:
            self.walk(part, (*around, (self._text(receiver), variable)))

    def _check_name(self, node: Tree, around: Loops) -> None:
        """Refuse names of enums and types, which one engine does not know."""
        name = str(node.children[0])
        if name not in self._names and name not in (variable for _, variable in around):
            raise CelError(
                f"no variable '{name}'", *syntax.place(node), did_you_mean(name, self._names)
            )

    def _check_index(self, node: Tree, around: Loops) -> None:
        """Refuse computed list indexes: for one engine, -1 is the last item."""
        of, index = syntax.children(node)
        is_literal = _INDEX.fullmatch(syntax.words(index)) and syntax.is_literal(index)
        if not is_literal and self._compiles(
            f"({self._text(of)})[0] == ({self._text(of)})[0]", around
        ):
            raise syntax.not_portable(index, "the index of a list has to be a literal number")

    def _check_items(self, node: Tree, around: Loops) -> None:
        """Refuse lists and maps of mixed types, and computed keys, which cel-cpp accepts."""
        items, step = syntax.arguments(node), 1
        if node.data == "map_lit":
            step = 2
            for item in items:
                if not syntax.is_literal(item):
                    raise syntax.not_portable(
                        item, "the keys and values of a map have to be literals"
                    )
        for number, item in enumerate(items):
            if (
                node.data == "list_lit"
                and self._text(item).replace(" ", "") == "[]"
                and len(items) > 1
            ):
                raise syntax.not_portable(item, "an empty list cannot be mixed with other items")
            same = f"({self._text(items[number % step])}) == ({self._text(item)})"
            if number >= step and self._compiles(same, around) is False:
                hint = "a list's items need the same type, and so do a map's keys and values"
                raise syntax.not_portable(item, hint)

    def _check_sum(self, node: Tree, around: Loops) -> None:
        """Refuse sums of durations, which overflow at different values."""
        if "duration" not in self._source:
            return
        one, other = (self._text(part) for part in syntax.children(node))
        one = one.removesuffix("+").removesuffix("-").strip()
        if all(self._compiles(f'({side}) == duration("1s")', around) for side in (one, other)):
            raise syntax.not_portable(node, "add a duration to a time, not to a duration")

    def _check_method(self, node: Tree, name: str, receiver: Tree, around: Loops) -> None:
        arguments = syntax.arguments(node)
        literal = (
            syntax.words(arguments[0]) if arguments and syntax.is_literal(arguments[0]) else ""
        )
        if name == "matches":
            if not literal:
                raise syntax.not_portable(node, "matches() takes a literal pattern")
            literal_checks.check_pattern(arguments[0], literal)
        elif name in _GETTERS:
            if arguments:
                literal_checks.check_zone(arguments[0], literal)
            if self._compiles(f"({self._text(receiver)}) == now", around) is False:
                raise syntax.not_portable(node, f"{name}() is for times, as in now.{name}()")
        elif name == "split":
            _check_split(node, arguments, literal)
        elif name not in _PREDICATES and name not in text_functions.FORMS:
            raise syntax.not_portable(node, f"{name}() is not a method of both evaluators")

    def _check_other_macro(self, node: Tree, name: str, receiver: Tree, around: Loops) -> None:
        """Restrict filter, map, exists_one: the engines differ in key order and in errors."""
        bodies = syntax.arguments(node)[1:]
        if len(bodies) > 1:
            raise syntax.not_portable(node, f"{name}() takes a variable and an expression")
        of = self._text(receiver)
        if name != "exists_one" and self._compiles(f'({of})[""] == ({of})[""]', around):
            raise syntax.not_portable(
                node, f"{name}() is only for lists; a map's keys have no order"
            )
        for part in bodies[0].iter_subtrees():
            if part.data in _MAY_FAIL and len(part.children) > 1 and not _is_safe_call(part):
                raise syntax.not_portable(
                    part, f"the expression in {name}() must not be able to fail"
                )
            if part.data == "member_dot" and _MAPS & set(syntax.path(part)[1:-1]):
                raise syntax.not_portable(
                    part, f"the expression in {name}() must not be able to fail"
                )

    def _compiles(self, condition: str, around: Loops) -> bool | None:
        """Whether a condition is well typed in this context; None without a checker."""
        if self._checker is None:
            return None
        for items_of, variable in reversed(around):
            condition = f"({items_of}).all({variable}, {condition})"
        try:
            self._checker.compile(condition, ResultKind.CONDITION)
        except CelError:
            return False
        return True

    def _text(self, node: Tree) -> str:
        return self._source[node.meta.start_pos : node.meta.end_pos]


def _check_division(node: Tree) -> None:
    """Refuse computed divisors: the engines differ for doubles by 0, and the least int by -1."""
    operator, divisor = node.children
    if isinstance(operator, lark.Tree) and operator.data != "multiplication_mul":
        assert isinstance(divisor, lark.Tree), "an operator has operands"
        if not syntax.is_literal(divisor) or not _DIVISOR.fullmatch(syntax.words(divisor)):
            raise syntax.not_portable(node, "divide by a literal number other than 0 and -1")


def _check_split(node: Tree, arguments: list[Tree], literal: str) -> None:
    """Refuse limits, and computed and empty separators, which the engines treat differently."""
    is_text = len(arguments) == 1 and literals.is_portable(literal)
    if not is_text or not literals.text(literal):
        raise syntax.not_portable(node, _SEPARATOR)


def _check_function(node: Tree) -> None:
    name, arguments = str(node.children[0]), syntax.arguments(node)
    if name == "has":
        _check_has(node, arguments)
    elif name in _OF_A_NUMBER:
        if not all(_is_number(argument) for argument in arguments):
            raise syntax.not_portable(node, f"{name}() takes a numeric field or a literal")
    elif name in _OF_A_LITERAL:
        for argument in arguments:
            literal_checks.check_time(node, name, argument)
    elif name not in _FUNCTIONS:
        known = ", ".join(sorted(_FUNCTIONS | _OF_A_NUMBER | _OF_A_LITERAL))
        raise syntax.not_portable(node, f"{name}() is not portable; use one of {known}")


def _check_has(node: Tree, arguments: list[Tree]) -> None:
    """Refuse has() of fields, whose defaults the engines treat differently; keys are fine."""
    path = syntax.path(arguments[0]) if arguments else []
    of_labels = len(path) == 3 and path[0] in variables.MESSAGES and path[1] in _MAPS  # noqa: PLR2004
    if not of_labels and not (len(path) == 2 and path[0] == variables.SPEND):  # noqa: PLR2004
        hint = "has() is only for keys of maps, as in has(principal.labels.team)"
        raise syntax.not_portable(node, hint)


def _is_number(node: Tree) -> bool:
    """Whether a node is a numeric literal or a numeric field."""
    if syntax.is_literal(node) and _NUMBER.fullmatch(syntax.words(node)):
        return True
    path = syntax.path(node)
    message = variables.MESSAGES.get(path[0]) if len(path) == 2 else None  # noqa: PLR2004
    field = message.fields_by_name.get(path[1]) if message is not None else None
    return field is not None and not field.is_repeated and field.cpp_type in _NUMBERS


def _is_safe_call(node: Tree) -> bool:
    return node.data == "ident_arg" and str(node.children[0]) in _FUNCTIONS
