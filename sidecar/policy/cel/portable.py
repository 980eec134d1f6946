"""CEL that both evaluators read alike; anything else is refused when a rule loads.

They differ in conversions of text, in `has()` on a field with its default value, in
lists of several types, in the order of a map's keys, in errors within some macros and in
rare literals. Some of these also take celpy exponential time. What is left is what rules
need.
"""

import re
from zoneinfo import available_timezones

import lark
from google.protobuf.descriptor import FieldDescriptor

from sidecar.policy.cel import patterns, syntax, variables
from sidecar.policy.cel.engine import CelError, Engine, ResultKind
from sidecar.policy.cel.syntax import Tree
from sidecar.policy.files.problems import did_you_mean

Loops = tuple[tuple[str, str], ...]
"""The macros around a part, outermost first: what each goes over, and its variable."""

_FUNCTIONS = {"size", "has"}
_OF_A_NUMBER = {"int", "double"}
_OF_A_LITERAL = {
    # One of them has times as 64-bit nanoseconds, which end in 2262. An expression has at most
    # 32 operators in a row, so what is added to a time is below 110 years.
    "duration": re.compile(r"""["'](?:\d{1,4}h|\d{1,6}m|\d{1,8}m?s)["']"""),
    "timestamp": re.compile(r"""["']20\d\d(-\d\d){2}T\d\d:\d\d:[0-5]\dZ["']"""),
}
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
_INDEX = re.compile(r"\d{1,9}")
_MAPS = {"labels", "services"}
_TEXT = re.compile(r'"(?:[^"\\]|\\[\\"\'nrt])*"|\'(?:[^\'\\]|\\[\\"\'nrt])*\'')
_NUMBERS = {FieldDescriptor.CPPTYPE_INT64, FieldDescriptor.CPPTYPE_DOUBLE}
_MAY_FAIL = {"member_index", "addition", "multiplication", "ident_arg"}


def check(
    tree: Tree,
    source: str,
    checker: Engine | None,
    names: frozenset[str] = variables.NAMES,
) -> None:
    """Raise CelError at the first construct that the evaluators may read differently.

    Types are the checker's to know; without one, they are not looked at. `names` are the
    variables there are.
    """
    _Check(source, checker, names).walk(tree, ())


class _Check:
    """Walks over one expression."""

    def __init__(self, source: str, checker: Engine | None, names: frozenset[str]) -> None:
        self._source = source
        self._checker = checker
        self._names = names

    def walk(self, node: Tree, around: Loops) -> None:  # noqa: C901 - a table of kinds
        """Look at a part and all that is in it."""
        match node.data:
            case "literal":
                _check_literal(node)
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
                raise _refused(node, "leading dots and message literals are not used here")
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
            raise _refused(arguments[0], "give the macro's variable a name of its own")
        if name in _OTHER_MACROS:
            self._check_other_macro(node, name, receiver, around)
        for part in arguments[1:]:
            self.walk(part, (*around, (self._text(receiver), variable)))

    def _check_name(self, node: Tree, around: Loops) -> None:
        """Enums and types have names too, which one of them does not know."""
        name = str(node.children[0])
        if name not in self._names and name not in (variable for _, variable in around):
            raise CelError(f"no variable '{name}'", *_place(node), did_you_mean(name, self._names))

    def _check_index(self, node: Tree, around: Loops) -> None:
        """A negative index is the last item to one of them."""
        of, index = syntax.children(node)
        is_literal = _INDEX.fullmatch(syntax.words(index)) and syntax.is_literal(index)
        if not is_literal and self._compiles(
            f"({self._text(of)})[0] == ({self._text(of)})[0]", around
        ):
            raise _refused(index, "an item of a list is named by a number that is written there")

    def _check_items(self, node: Tree, around: Loops) -> None:
        """The items of a list, the keys and values of a map: cel-cpp lets them be anything."""
        items, step = syntax.arguments(node), 1
        if node.data == "map_lit":
            step = 2
            for item in items:
                if not syntax.is_literal(item):
                    raise _refused(item, "the keys and values of a map are written there")
        for number, item in enumerate(items):
            if (
                node.data == "list_lit"
                and self._text(item).replace(" ", "") == "[]"
                and len(items) > 1
            ):
                raise _refused(item, "an empty list has no type beside others")
            same = f"({self._text(items[number % step])}) == ({self._text(item)})"
            if number >= step and self._compiles(same, around) is False:
                hint = "a list's items have one type, as have a map's keys and values"
                raise _refused(item, hint)

    def _check_sum(self, node: Tree, around: Loops) -> None:
        """Sums of durations end at different heights."""
        if "duration" not in self._source:
            return
        one, other = (self._text(part) for part in syntax.children(node))
        one = one.removesuffix("+").removesuffix("-").strip()
        if all(self._compiles(f'({side}) == duration("1s")', around) for side in (one, other)):
            raise _refused(node, "add a duration to a time, not to another")

    def _check_method(self, node: Tree, name: str, receiver: Tree, around: Loops) -> None:
        arguments = syntax.arguments(node)
        literal = (
            syntax.words(arguments[0]) if arguments and syntax.is_literal(arguments[0]) else ""
        )
        if name == "matches":
            if not literal:
                raise _refused(node, "matches() takes a literal pattern")
            _check_pattern(arguments[0], literal)
        elif name in _GETTERS:
            if arguments:
                _check_zone(arguments[0], literal)
            if self._compiles(f"({self._text(receiver)}) == now", around) is False:
                raise _refused(node, f"{name}() is for times, as in now.{name}()")
        elif name not in _PREDICATES:
            raise _refused(node, f"no method {name}() that both evaluators have")

    def _check_other_macro(self, node: Tree, name: str, receiver: Tree, around: Loops) -> None:
        """One of them orders a map's keys otherwise, and lets no error within be made up for."""
        bodies = syntax.arguments(node)[1:]
        if len(bodies) > 1:
            raise _refused(node, f"{name}() takes a variable and an expression")
        of = self._text(receiver)
        if name != "exists_one" and self._compiles(f'({of})[""] == ({of})[""]', around):
            raise _refused(node, f"{name}() is for lists; a map's keys have no order")
        for part in bodies[0].iter_subtrees():
            if part.data in _MAY_FAIL and len(part.children) > 1 and not _is_safe_call(part):
                raise _refused(part, f"what stands in {name}() must not be able to fail")
            if part.data == "member_dot" and _MAPS & set(syntax.path(part)[1:-1]):
                raise _refused(part, f"what stands in {name}() must not be able to fail")

    def _compiles(self, condition: str, around: Loops) -> bool | None:
        """Whether a condition has the right types, where it stands; None if nobody can tell."""
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


def _check_literal(node: Tree) -> None:
    (token,) = node.children
    assert isinstance(token, lark.Token), "a literal is a word"
    if token.type in ("UINT_LIT", "BYTES_LIT", "NULL_LIT"):
        raise _refused(token, "write ints, doubles, bools and strings; no uints, bytes or null")
    if token.type == "MLSTRING_LIT" or (
        token.type == "STRING_LIT" and not _TEXT.fullmatch(str(token))
    ):
        raise _refused(
            token, r"write strings in one line with \\ \" \' \n \r \t and no other escape"
        )


def _check_division(node: Tree) -> None:
    """Zero divides doubles into infinity on one of them, and -1 the least int into an error."""
    operator, divisor = node.children
    if isinstance(operator, lark.Tree) and operator.data != "multiplication_mul":
        assert isinstance(divisor, lark.Tree), "an operator has operands"
        if not syntax.is_literal(divisor) or not _DIVISOR.fullmatch(syntax.words(divisor)):
            raise _refused(node, "divide by a number that is written there and is not 0 or -1")


def _check_function(node: Tree) -> None:
    name, arguments = str(node.children[0]), syntax.arguments(node)
    if name == "has":
        _check_has(node, arguments)
    elif name in _OF_A_NUMBER:
        if not all(_is_number(argument) for argument in arguments):
            raise _refused(node, f"{name}() takes a field that is a number, or a literal")
    elif name in _OF_A_LITERAL:
        form = _OF_A_LITERAL[name]
        if not all(
            syntax.is_literal(each) and form.fullmatch(syntax.words(each)) for each in arguments
        ):
            raise _refused(node, f'{name}() takes a literal, as in duration("90s")')
    elif name not in _FUNCTIONS:
        known = ", ".join(sorted(_FUNCTIONS | _OF_A_NUMBER | set(_OF_A_LITERAL)))
        raise _refused(node, f"{name}() is read differently by the evaluators; there are {known}")


def _check_has(node: Tree, arguments: list[Tree]) -> None:
    """A field is always there, and has() of its default differs; a map's key may be missing."""
    path = syntax.path(arguments[0]) if arguments else []
    of_labels = len(path) == 3 and path[0] in variables.MESSAGES and path[1] in _MAPS  # noqa: PLR2004
    if not of_labels and not (len(path) == 2 and path[0] == variables.SPEND):  # noqa: PLR2004
        raise _refused(node, "has() is for keys of maps, as in has(principal.labels.team)")


def _check_pattern(place: Tree, literal: str) -> None:
    """A pattern that RE2 cannot read fails for every call."""
    try:
        patterns.states(literal)
    except patterns.PatternError as error:
        raise CelError(f"is no pattern: {error}", *_place(place), "patterns are RE2's") from None


def _check_zone(place: Tree, literal: str) -> None:
    """A zone is looked up among files: by a name that is known, never by one from a call."""
    if not literal:
        raise _refused(place, 'a time zone is written there, as in "Europe/Paris"')
    known = available_timezones() - {"localtime"}
    if literal[1:-1] not in known:
        message = f"no time zone is named '{literal[1:-1]}'"
        raise CelError(message, *_place(place), did_you_mean(literal[1:-1], known))


def _is_number(node: Tree) -> bool:
    """Whether a node is a numeric literal, or the path of a field that is a number."""
    if syntax.is_literal(node) and _NUMBER.fullmatch(syntax.words(node)):
        return True
    path = syntax.path(node)
    message = variables.MESSAGES.get(path[0]) if len(path) == 2 else None  # noqa: PLR2004
    field = message.fields_by_name.get(path[1]) if message is not None else None
    return field is not None and not field.is_repeated and field.cpp_type in _NUMBERS


def _is_safe_call(node: Tree) -> bool:
    return node.data == "ident_arg" and str(node.children[0]) in _FUNCTIONS


def _place(place: Tree | lark.Token) -> tuple[int, int]:
    at = place if isinstance(place, lark.Token) else place.meta
    return at.line or 0, at.column or 0


def _refused(place: Tree | lark.Token, hint: str) -> CelError:
    word = place if isinstance(place, lark.Token) else syntax.first_word(place)
    return CelError(f"'{word}' is not read alike by both evaluators", *_place(place), hint)
