"""CEL that both evaluators read alike; anything else is refused when a rule loads.

They differ in conversions of text, in `has()` on a field with its default value,
in lists of several types and in rare literals. Some of these also take celpy
exponential time. What is left is what rules need.
"""

import re
from collections.abc import Iterator
from zoneinfo import available_timezones

import lark
import re2
from google.protobuf.descriptor import FieldDescriptor

from sidecar.policy import variables
from sidecar.policy.engine import CelError, Engine, Kind
from sidecar.policy.problems import did_you_mean

Tree = lark.Tree[lark.Token]

_Loops = tuple[tuple[str, str], ...]
"""The macros around a part, outermost first: what each goes over, and its variable."""

_FUNCTIONS = {"size", "has"}
_OF_A_NUMBER = {"int", "double"}
_OF_A_LITERAL = {
    "duration": re.compile(r"""["'](?:\d{1,5}h|\d{1,7}m|\d{1,9}m?s)["']"""),
    # One of them counts seconds in 64-bit nanoseconds: 292 years, from any to any.
    "timestamp": re.compile(r"""["']2[01]\d\d(-\d\d){2}T\d\d:\d\d:[0-5]\dZ["']"""),
}
_MACROS = {"all", "exists", "exists_one", "filter", "map"}
_METHODS = _MACROS | {"contains", "startsWith", "endsWith"} | {
    f"get{part}"
    for part in (
        "FullYear", "Month", "Date", "DayOfMonth", "DayOfWeek", "DayOfYear", "Hours", "Minutes",
        "Seconds", "Milliseconds",
    )
}  # fmt: skip
_NUMBER = re.compile(r"-?\d{1,15}(?:\.\d{1,15})?")
_NOT_ZERO = re.compile(r"-?(?=.*[1-9])\d+(?:\.\d+)?")
_UNESCAPED = re.compile(r"\\(.)")
_ESCAPES = {"n": "\n", "r": "\r", "t": "\t", "\\": "\\", '"': '"', "'": "'"}
_MAPS = {"labels", "services"}
_TEXT = re.compile(r'"(?:[^"\\]|\\[\\"\'nrt])*"|\'(?:[^\'\\]|\\[\\"\'nrt])*\'')
_NUMBERS = {FieldDescriptor.CPPTYPE_INT64, FieldDescriptor.CPPTYPE_DOUBLE}


def check(tree: Tree, source: str, checker: Engine | None) -> None:
    """Raise CelError at the first construct that the evaluators may read differently.

    Types are the checker's to know; without one, they are not looked at.
    """
    for node in tree.iter_subtrees_topdown():  # type: ignore[no-untyped-call]
        match node.data:
            case "literal":
                _check_literal(_token(node))
            case "ident_arg":
                _check_function(node)
            case "member_dot_arg":
                _check_method(node)
            case "multiplication":
                _check_division(node)
            case "dot_ident_arg" | "dot_ident" | "member_object":
                raise _refused(node, "leading dots and message literals are not used here")
            case _:
                pass
    if checker is not None:
        _check_one_type(tree, source, (), checker)


def _check_one_type(node: Tree, source: str, around: _Loops, checker: Engine) -> None:
    """The items of a list, the keys and the values of a map: cel-cpp lets them be anything."""
    parts = [child for child in node.children if isinstance(child, lark.Tree)]
    within = around
    if node.data == "member_dot_arg" and str(node.children[1]) in _MACROS:
        over = parts.pop(0)
        within = (*around, (_source(over, source), _source(_arguments(node)[0], source)))
        _check_one_type(over, source, around, checker)
    for part in parts:
        _check_one_type(part, source, within, checker)
    step = {"list_lit": 1, "map_lit": 2}.get(node.data, 0)
    items = _arguments(node) if step else []
    for number, item in enumerate(items[step:], start=step):
        first, other = _source(items[number % step], source), _source(item, source)
        comparison = f"({first}) == ({other})"
        for items_of, variable in reversed(around):
            comparison = f"({items_of}).all({variable}, {comparison})"
        try:
            checker.compile(comparison, Kind.CONDITION)
        except CelError:
            raise _refused(
                item, "a list's items have one type, as have a map's keys and values"
            ) from None


def _check_literal(token: lark.Token) -> None:
    if token.type in ("UINT_LIT", "BYTES_LIT", "NULL_LIT"):
        raise _refused(token, "write ints, doubles, bools and strings; no uints, bytes or null")
    if token.type == "MLSTRING_LIT" or (
        token.type == "STRING_LIT" and not _TEXT.fullmatch(str(token))
    ):
        raise _refused(
            token, r"write strings in one line with \\ \" \' \n \r \t and no other escape"
        )


def _check_division(node: Tree) -> None:
    """Zero divides doubles into infinity on one evaluator, which is no ceiling at all."""
    operator = node.children[0]
    if isinstance(operator, lark.Tree) and operator.data in (
        "multiplication_div",
        "multiplication_mod",
    ):
        divisor = node.children[1]
        if not isinstance(divisor, lark.Tree) or not _NOT_ZERO.fullmatch(_text(divisor)):
            raise _refused(node, "divide by a number that is written there and is not 0")


def _check_function(node: Tree) -> None:
    name, arguments = _token(node), _arguments(node)
    if name == "has":
        _check_has(node, arguments)
    elif name in _OF_A_NUMBER:
        if not all(_is_number(argument) for argument in arguments):
            raise _refused(node, f"{name}() takes a field that is a number, or a literal")
    elif name in _OF_A_LITERAL:
        if not all(_OF_A_LITERAL[name].fullmatch(_text(argument)) for argument in arguments):
            raise _refused(node, f'{name}() takes a literal, as in duration("90s")')
    elif name not in _FUNCTIONS:
        known = ", ".join(sorted(_FUNCTIONS | _OF_A_NUMBER | set(_OF_A_LITERAL)))
        raise _refused(node, f"{name}() is read differently by the evaluators; there are {known}")


def _check_has(node: Tree, arguments: list[Tree]) -> None:
    """A field is always there, and has() of its default differs; a map's key may be missing."""
    path = _path(arguments[0]) if arguments else []
    if len(path) > 1 and (path[-2] in _MAPS or path[0] == variables.SPEND):
        return
    raise _refused(node, "has() is for keys of maps, as in has(principal.labels.team)")


def _check_method(node: Tree) -> None:
    name = str(node.children[1])
    arguments = _arguments(node)
    literals = [_text(argument)[1:-1] for argument in arguments if _text(argument)[:1] in "\"'"]
    if name == "matches":
        if not literals:
            raise _refused(node, "matches() takes a literal pattern")
        _check_pattern(arguments[0], literals[0])
    elif name.startswith("get") and arguments:
        if not literals:
            raise _refused(node, f"{name}() takes a literal zone")
        _check_zone(arguments[0], literals[0])
    elif name not in _METHODS:
        raise _refused(node, f"no method {name}() that both evaluators have")


def _check_pattern(place: Tree, pattern: str) -> None:
    """A pattern that RE2 cannot read fails for every call."""
    options = re2.Options()
    options.log_errors = False
    try:
        re2.compile(_UNESCAPED.sub(lambda found: _ESCAPES[found[1]], pattern), options)
    except re2.error as error:
        why = error.args[0].decode() if isinstance(error.args[0], bytes) else str(error)
        token = _token(place)
        raise CelError(
            f"is no pattern: {why}", token.line or 0, token.column or 0, "patterns are RE2's"
        ) from None


def _check_zone(place: Tree, zone: str) -> None:
    """A zone that is not known fails for every call."""
    known = available_timezones()
    if zone not in known:
        token = _token(place)
        hint = did_you_mean(zone, known)
        message = f"no time zone is named '{zone}'"
        raise CelError(message, token.line or 0, token.column or 0, hint)


def _is_number(node: Tree) -> bool:
    """Whether a node is a numeric literal, or the path of a field that is a number."""
    if _NUMBER.fullmatch(_text(node)):
        return True
    path = _path(node)
    message = variables.MESSAGES.get(path[0]) if len(path) == 2 else None  # noqa: PLR2004
    field = message.fields_by_name.get(path[1]) if message is not None else None
    return field is not None and not field.is_repeated and field.cpp_type in _NUMBERS


def _path(node: Tree) -> list[str]:
    """Return the names of a plain `a.b.c`, or of as much of it as there is."""
    names = [str(token) for token in _tokens(node)]
    return names if "".join(names).replace("_", "a").isalnum() else []


def _arguments(node: Tree) -> list[Tree]:
    lists = [child for child in node.children if isinstance(child, lark.Tree)]
    if not lists or lists[-1].data not in ("exprlist", "mapinits"):
        return []
    return [child for child in lists[-1].children if isinstance(child, lark.Tree)]


def _tokens(node: Tree) -> Iterator[lark.Token]:
    for child in node.children:
        if isinstance(child, lark.Token):
            yield child
        else:
            yield from _tokens(child)


def _source(node: Tree, source: str) -> str:
    return source[node.meta.start_pos : node.meta.end_pos]


def _text(node: Tree) -> str:
    """Return a node's tokens run together; operators have none."""
    return "".join(str(token) for token in _tokens(node))


def _token(node: Tree) -> lark.Token:
    return next(_tokens(node))


def _refused(place: Tree | lark.Token, hint: str) -> CelError:
    token = place if isinstance(place, lark.Token) else _token(place)
    message = f"'{token}' is not read alike by both evaluators"
    return CelError(message, token.line or 0, token.column or 0, hint)
