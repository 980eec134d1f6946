"""Errors of CEL expressions, in words for policy authors."""

import re
from collections.abc import Iterable

from google.protobuf import descriptor_pool

from sidecar.policy.cel import text_functions, variables
from sidecar.policy.cel.engine import CelError
from sidecar.policy.files.problems import did_you_mean

FUNCTIONS = ("size", "has", "int", "double", "duration", "timestamp")
METHODS = (
    "all", "exists", "exists_one", "filter", "map", "contains", "startsWith", "endsWith",
    "matches", *text_functions.FORMS, "getFullYear", "getMonth", "getDate", "getDayOfMonth",
    "getDayOfWeek", "getDayOfYear", "getHours", "getMinutes", "getSeconds", "getMilliseconds",
)  # fmt: skip
"""The functions and methods that rules may call."""

_ERROR = re.compile(r"ERROR: <input>:(\d+):(\d+): (.*)")
_TOO_DEEP = re.compile(r"max recursion depth of (\d+)")
_UNDEFINED_FIELD = re.compile(r"undefined field '(\w+)' not found in struct '([\w.]+)'")
_SYNTAX = re.compile(r"Syntax error: .*?'(.+?)'")
_UNDECLARED = re.compile(r"undeclared reference to '([\w.]+)'")
_OVERLOAD = re.compile(r"found no matching overload for '(\S+)' applied to '(.*)'")
_MARK = re.compile(r"//[^\n]*|\"(?:\\.|[^\"\\\n])*(\"?)|'(?:\\.|[^'\\\n])*('?)|[()\[\]{}]")

_HINTS = {
    "=": "to compare, write ==",
    "and": "write &&",
    "or": "write ||",
    "not": "write !",
    "“": 'write straight quotes, as in "ml"',
    "”": 'write straight quotes, as in "ml"',
}


def check_brackets(source: str) -> None:
    """Raise CelError at the first unmatched bracket or unterminated string."""
    opened: list[tuple[str, int]] = []
    for found in _MARK.finditer(source):
        mark = found[0]
        if mark[0] in "\"'" and not (found[1] or found[2]):
            raise _at(source, found.start(), "the string is never closed", f"end it with {mark[0]}")
        if mark in ("(", "[", "{"):
            opened.append((mark, found.start()))
        elif mark in (")", "]", "}"):
            if not opened:
                raise _at(source, found.start(), f"'{mark}' closes nothing")
            other, start = opened.pop()
            if other + mark not in ("()", "[]", "{}"):
                message = f"'{mark}' does not close '{other}'"
                line = source.count("\n", 0, start) + 1
                raise _at(
                    source, found.start(), message, f"which is in line {line} of the expression"
                )
    if opened:
        raise _at(source, opened[-1][1], f"'{opened[-1][0]}' is never closed")


def _at(source: str, offset: int, message: str, hint: str = "") -> CelError:
    line = source.count("\n", 0, offset) + 1
    return CelError(message, line, offset - source.rfind("\n", 0, offset), hint)


def read(source: str, text: str, names: Iterable[str] = variables.NAMES) -> CelError:
    """Convert cel-cpp's error for an expression with these variables."""
    if depth := _TOO_DEEP.search(text):
        message = f"nests operators or brackets deeper than {depth[1]}"
        return CelError(message, hint="split it into several rules")
    found = _ERROR.search(text)
    if found is None:
        return CelError(text.splitlines()[0].removeprefix("INVALID_ARGUMENT: "))
    line, column, message = int(found[1]), int(found[2]), found[3]
    message = message.removesuffix(" (in container '')").removesuffix(" [INVALID_ARGUMENT]")
    hint = ""
    if field := _UNDEFINED_FIELD.search(message):
        struct = descriptor_pool.Default().FindMessageTypeByName(field[2])
        message = f"no field '{field[1]}' in {struct.name}"
        hint = did_you_mean(field[1], struct.fields_by_name)
    elif name := _UNDECLARED.search(message):
        root = name[1].partition(".")[0]
        source_line = source.splitlines()[line - 1]
        # For a field access, the column is that of the last dot: go back to the root.
        column = max(1, source_line.rfind(root, 0, column + len(root)) + 1)
        message, hint = _unknown(root, source_line[column - 1 :], names)
    elif overload := _OVERLOAD.search(message):
        message, hint = _overload(overload[1], overload[2][1:-1].split(", "))
    elif "has() argument must be a field selection" in message:
        hint = 'write has(principal.labels.team), or "cost-center" in principal.labels'
    elif "mismatched input '<EOF>'" in message:
        message = "the expression ends too early"
    elif syntax := _SYNTAX.match(message):
        message, hint = f"syntax error at '{syntax[1]}'", _of_syntax(source, line, syntax[1])
    return CelError(message, line, column, hint)


def _unknown(name: str, rest: str, names: Iterable[str]) -> tuple[str, str]:
    """Return message and hint for an unknown variable, function or method."""
    if not rest.removeprefix(name).lstrip().startswith("("):
        return f"no variable '{name}'", did_you_mean(name, names)
    if name in (*FUNCTIONS, *METHODS):
        form = text_functions.FORMS.get(name)
        hint = f"write {form}" if form else "docs/policies.md shows how"
        return f"'{name}' is called in another way", hint
    close = did_you_mean(name, (*FUNCTIONS, *METHODS))
    return f"no function or method '{name}'", close or "docs/policies.md lists them all"


def _overload(function: str, types: list[str]) -> tuple[str, str]:
    """Return message and hint for operands or arguments of wrong types."""
    operator = function.strip("_").replace("_", " ").strip()
    listed = " and ".join(f"{'an' if kind[0] in 'aeiou' else 'a'} {kind}" for kind in types)
    hint = ""
    if function == "_?_:_":
        return f"a ? b : c takes a bool and two values of the same type, not {listed}", ""
    if set(types) == {"int", "double"}:
        hint = "write a double, as in 100.0, or convert the field with int(…)"
    elif function in ("_&&_", "_||_", "!_"):
        hint = 'it takes bools, as in role.name == "admin"'
    if function.startswith("_") or function.endswith("_"):
        return f"'{operator}' does not take {listed}", hint
    return f"{function}() does not take {listed}", hint


def _of_syntax(source: str, line: int, token: str) -> str:
    """Return a hint for a syntax error."""
    found = next((hint for mark, hint in _HINTS.items() if token.startswith(mark)), "")
    if found:
        return found
    source_line = source.splitlines()[line - 1] if line <= len(source.splitlines()) else ""
    if re.search(r"\d_\d|\d,\d{3}\b", source_line):
        return "CEL writes numbers without separators, as in 200000"
    words = re.search(r"\s(and|or|not)\s", f" {source_line} ")
    if words:
        return _HINTS[words[1]]
    return _HINTS["="] if re.search(r"[^=!<>]=[^=]", source_line) else ""
