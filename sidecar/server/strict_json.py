"""Strict JSON: refuses bodies that two parsers could read differently."""

import json
from math import isfinite
from typing import Any, NoReturn

from sidecar.contract.validation import InvalidFieldError
from sidecar.server.errors import RefusedError

MAX_NUMBER_CHARACTERS = 64
MAX_DEPTH = 100
"""Of objects and lists in each other: Python's own bound differs from version to version."""


def read_object(content: bytes) -> dict[str, Any]:
    """Parse a body that is a JSON object. Raises RefusedError or InvalidFieldError.

    It has to be UTF-8 without a byte-order mark, with no key twice, only numbers that a
    double can hold, and nested no deeper than MAX_DEPTH.
    """
    try:
        text = content.decode()
    except UnicodeDecodeError:
        raise _refused("is not UTF-8") from None
    try:
        read = json.loads(
            text,
            object_pairs_hook=_each_key_once,
            parse_constant=_no_constant,
            parse_int=_integer,
            parse_float=_float,
        )
    except RecursionError:
        raise _refused("is nested too deeply") from None
    except ValueError:
        raise _refused("is not JSON") from None
    if not isinstance(read, dict):
        raise _refused("is not a JSON object")
    if _is_deeper(read, MAX_DEPTH):
        raise _refused("is nested too deeply")
    return read


def member(body: dict[str, Any], name: str, kind: type, path: str = "") -> Any:
    """Return a member of this type; None if it is missing or null. Raises InvalidFieldError."""
    value = body.get(name)
    if value is not None and type(value) is not kind:  # a bool is an int in Python
        raise InvalidFieldError(path + name, f"is not {_KINDS[kind]}")
    return value


_KINDS = {str: "a string", int: "a whole number", bool: "a boolean", dict: "an object",
          list: "a list"}  # fmt: skip


def _is_deeper(value: Any, depth: int) -> bool:
    """Whether objects and lists are more than so deep in each other; without recursion."""
    level = [value]
    for _ in range(depth):
        level = [
            child
            for parent in level
            for child in (parent.values() if isinstance(parent, dict) else parent)
            if isinstance(child, dict | list)
        ]
    return bool(level)


def _each_key_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    read = dict(pairs)
    if len(read) != len(pairs):
        raise _refused("has a key twice in one object")
    return read


def _no_constant(_: str) -> NoReturn:
    raise ValueError


def _integer(text: str) -> int:
    if len(text) > MAX_NUMBER_CHARACTERS:  # other parsers would round it
        raise ValueError
    return int(text)


def _float(text: str) -> float:
    number = float(text)
    if len(text) > MAX_NUMBER_CHARACTERS or not isfinite(number):
        raise ValueError
    return number


def _refused(problem: str) -> RefusedError:
    return RefusedError("BODY_MALFORMED", f"the body {problem}")
