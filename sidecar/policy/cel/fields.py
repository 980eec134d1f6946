"""Fields of messages as variables of their own, for cel-cpp.

cel-cpp converts a whole message when an expression first reads it, for every call anew, which costs
more than the expression. CEL takes `request.tokens` for a variable of that name where there is one,
so only the fields that an expression reads are converted. What is not a plain value stays a field
of its message.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC
from operator import attrgetter
from typing import Any

from cel_expr_python import cel
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.timestamp_pb2 import Timestamp

from sidecar.policy.cel import literals, variables
from sidecar.policy.cel.variables import Values

Read = Callable[[Values], Any]
"""Returns a variable's value for one call. Raises CutTextError."""

_PLAIN = {
    FieldDescriptor.TYPE_STRING: cel.Type.STRING,
    FieldDescriptor.TYPE_INT64: cel.Type.INT,
    FieldDescriptor.TYPE_DOUBLE: cel.Type.DOUBLE,
    FieldDescriptor.TYPE_BOOL: cel.Type.BOOL,
}
_NAME = re.compile(rf"\b({'|'.join(variables.NAMES)})\b(?:\s*\.\s*(\w+))?")
_PRESENCE = re.compile(r"\bhas\b")


class CutTextError(ValueError):
    """A text of Python has a NUL, at which cel-cpp would cut it; in a message it would not."""


def _text(text: str) -> str:
    """Return a text. Raises CutTextError."""
    if "\0" in text:
        raise CutTextError
    return text


def _list(texts: Iterable[str]) -> list[str]:
    return [_text(text) for text in texts]


def _map(entries: Mapping[str, Any]) -> dict[str, Any]:
    return {
        _text(key): _text(value) if isinstance(value, str) else value
        for key, value in entries.items()
    }


def _kind(field: FieldDescriptor) -> tuple[cel.Type, Callable[[Any], Any] | None] | None:
    """Return a field's type, and what makes a value of it; None for one that stays a field."""
    if field.message_type is None:
        plain = _PLAIN.get(field.type)
        if plain is None:
            return None
        if field.is_repeated:
            return cel.Type.List(plain), _list
        return plain, _text if plain == cel.Type.STRING else None
    if field.message_type.GetOptions().map_entry:
        value = _PLAIN.get(field.message_type.fields_by_name["value"].type)
        return None if value is None else (cel.Type.Map(cel.Type.STRING, value), _map)
    if field.message_type is Timestamp.DESCRIPTOR:
        return cel.Type.TIMESTAMP, lambda at: at.ToDatetime(UTC)
    return None


def _reads() -> tuple[dict[str, cel.Type], dict[str, Read]]:
    """Return the type of each field, and how each field and each whole variable is read."""
    types: dict[str, cel.Type] = {}
    reads: dict[str, Read] = {
        name: attrgetter(name) for name in variables.NAMES - {variables.UNLIMITED}
    }
    for variable, message in variables.MESSAGES.items():
        for field in message.fields:
            if (kind := _kind(field)) is None:
                continue
            name = f"{variable}.{field.name}"
            types[name], make = kind
            reads[name] = attrgetter(name) if make is None else _made(attrgetter(name), make)
    return types, reads


def _made(get: Read, make: Callable[[Any], Any]) -> Read:
    return lambda values: make(get(values))


TYPES: Mapping[str, cel.Type]
"""The type of each field that is a variable, by its name, as in `request.tokens`."""
READS: Mapping[str, Read]
TYPES, READS = _reads()


def read_by(source: str) -> frozenset[str]:
    """Return the variables that an expression may read: too many, and never too few.

    A variable whose field is not next to it is read whole, and in each of its fields.
    """
    names: set[str] = set()
    for variable, field in _NAME.findall(literals.code(source)):
        if f"{variable}.{field}" in TYPES:
            names.add(f"{variable}.{field}")
        elif variable in READS:
            names.add(variable)
        if not field:
            names.update(name for name in TYPES if name.startswith(f"{variable}."))
    return frozenset(names)


def whole_read_by(source: str) -> frozenset[str]:
    """Return the variables that an expression may read, as messages."""
    return (
        frozenset(variable for variable, _ in _NAME.findall(literals.code(source))) & READS.keys()
    )


def asks_presence(source: str) -> bool:
    """Whether an expression may ask if a field is there, which only a message has."""
    return _PRESENCE.search(literals.code(source)) is not None
