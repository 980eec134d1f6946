"""Checks of literals: texts, times, durations, time zones and patterns that both engines read."""

import re
from collections.abc import Iterator
from datetime import UTC, datetime
from zoneinfo import available_timezones

import lark

from sidecar.policy.cel import literals, patterns, syntax
from sidecar.policy.cel.engine import CelError
from sidecar.policy.cel.syntax import Tree
from sidecar.policy.files.problems import did_you_mean

# One engine has times as 64-bit nanoseconds, which end in 2262. An expression has at most
# 32 operators in a row, so the sum added to a time stays below 110 years.
_DURATION = re.compile(r"\d{1,4}h|\d{1,6}m|\d{1,8}m?s")
_DAYS = re.compile(r"(\d{1,3})d")
_TIMESTAMP = re.compile(r"20\d\d-\d\d-\d\dT\d\d:\d\d:\d\dZ")
_DAY = re.compile(r"20\d\d-\d\d-\d\d")


def check_literal(node: Tree) -> None:
    """Refuse literals of kinds and forms that the engines read differently."""
    (token,) = node.children
    assert isinstance(token, lark.Token), "a literal is one token"
    if token.type in ("UINT_LIT", "BYTES_LIT", "NULL_LIT"):
        raise syntax.not_portable(
            token, "use ints, doubles, bools and strings; no uints, bytes or null"
        )
    if token.type == "MLSTRING_LIT" or (
        token.type == "STRING_LIT" and not literals.is_portable(str(token))
    ):
        raise syntax.not_portable(token, literals.FORMS)


def check_time(call: Tree, name: str, argument: Tree) -> None:
    """Refuse times and durations that are computed, do not exist, or are not read alike."""
    literal = syntax.words(argument) if syntax.is_literal(argument) else ""
    if not literals.is_portable(literal):
        raise syntax.not_portable(call, f"{name}() takes a literal, {_AS[name]}")
    text = literals.text(literal)
    if name == "duration":
        if not _DURATION.fullmatch(text):
            days = _DAYS.fullmatch(text)
            hint = f'a day is 24 hours: "{int(days[1]) * 24}h"' if days else _AS[name]
            raise CelError(f"'{text}' is not a duration", *syntax.place(argument), hint)
    elif not _TIMESTAMP.fullmatch(text):
        hint = f"write the whole time: {text}T00:00:00Z" if _DAY.fullmatch(text) else _AS[name]
        raise CelError(f"'{text}' is not a time", *syntax.place(argument), hint)
    elif not _exists(text):
        raise CelError(f"there is no time {text}", *syntax.place(argument))


_AS = {
    "duration": 'as in duration("90s")',
    "timestamp": 'as in timestamp("2026-12-01T00:00:00Z"), from 2000 to 2099',
}


def _exists(time: str) -> bool:
    """Whether the calendar and the clock have this time."""
    try:
        datetime.strptime(time, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)
    except ValueError:
        return False
    return not time.endswith(":60Z")  # strptime knows leap seconds


def check_pattern(place: Tree, literal: str) -> None:
    """Refuse patterns that RE2 cannot compile, which would fail for every call."""
    try:
        patterns.states(literal)
    except ValueError as error:
        raise CelError(
            f"is not a valid pattern: {error}", *syntax.place(place), "patterns use RE2's syntax"
        ) from None


def check_zone(place: Tree, literal: str) -> None:
    """Refuse computed and unknown time zones: a zone's name is looked up as a file."""
    if not literal:
        raise syntax.not_portable(place, 'a time zone has to be a literal, as in "Europe/Paris"')
    zone, known = literals.text(literal), available_timezones() - {"localtime"}
    if zone not in known:
        message = f"no time zone is named '{zone}'"
        raise CelError(message, *syntax.place(place), did_you_mean(zone, known))


def lookups(tree: Tree) -> Iterator[tuple[str, str, Tree]]:
    """Yield each literal that an engine looks up at run time: a condition to try it, text, place.

    A time zone is a file of the system, which engines read by libraries of their own.
    """
    for node in tree.iter_subtrees():
        arguments = syntax.arguments(node)
        if not arguments or not syntax.is_literal(arguments[0]):
            continue
        literal = syntax.words(arguments[0])
        if node.data == "ident_arg" and (name := str(node.children[0])) in _AS:
            yield f"{name}({literal}) == {name}({literal})", literal, arguments[0]
        elif node.data == "member_dot_arg":
            name = str(node.children[1])
            if name == "matches":
                yield f'"".matches({literal}) == true', literal, arguments[0]
            elif name.startswith("get"):
                yield f"now.{name}({literal}) >= 0", literal, arguments[0]
