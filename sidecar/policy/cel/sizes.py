"""Maximum sizes of values: of a request by the contract's bounds, of the data as it is."""

import functools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any

from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp
from mistral_spend.v1 import authorization_pb2 as pb

from sidecar.domain.bounds import (
    MAX_ID_BYTES,
    MAX_LABEL_KEY_BYTES,
    MAX_LABEL_VALUE_BYTES,
    MAX_LABELS,
)
from sidecar.domain.usage import MAX_TOOL_NAME_BYTES, MAX_TOOLS
from sidecar.policy.cel.variables import no_key
from sidecar.v1 import policy_input_pb2 as policy_pb

BULK = 16
"""Characters or items that are copied or compared in one step."""

MAX_RULE_ID = 64


@dataclass(frozen=True, slots=True)
class ValueSize:
    """A value's maximum size: characters of a string, items of a list or map, 0 of a number."""

    count: int = 0
    item: "ValueSize | None" = None
    """The size of a list's items, or of a map's values."""
    key: "ValueSize | None" = None
    message: str = ""
    """The full name of its type, if it is a message."""

    @property
    def bulk(self) -> int:
        """The steps of reading all of it."""
        if self.item is None:
            return self.count // BULK
        return self.count * (1 + self.item.bulk + (self.key.bulk if self.key else 0))

    @property
    def has_messages(self) -> bool:
        """Whether it is a message, or contains messages."""
        return bool(self.message or (self.item and self.item.has_messages))

    def or_else(self, other: "ValueSize") -> "ValueSize":
        """Return the size of a value that may be either."""
        return ValueSize(
            max(self.count, other.count),
            either(self.item, other.item),
            either(self.key, other.key),
            self.message or other.message,
        )

    @staticmethod
    def any_of(sizes: "Iterable[ValueSize]") -> "ValueSize":
        """Return the size of a value that may be any of them."""
        return functools.reduce(ValueSize.or_else, sizes, NUMBER)


NUMBER = ValueSize()


def either(one: ValueSize | None, other: ValueSize | None) -> ValueSize | None:
    """Return the size of a value that may be either; None if both are None."""
    return one.or_else(other) if one and other else one or other


class Largest:
    """The maximum sizes of the variables' fields."""

    def __init__(
        self,
        entries: Iterable[Message],
        limits: int,
        lists: Mapping[str, Sequence[str]] = MappingProxyType({}),
    ) -> None:
        """Measure all entries and lists of the data files; `limits` bounds `spend`."""
        self._fields: dict[str, ValueSize] = {}
        for message in (*_REQUESTS, *entries):
            self._measure(message)
        self.lists = self._size(lists)
        self.spend = ValueSize(
            limits, ValueSize(message=policy_pb.Spend.DESCRIPTOR.full_name), ValueSize(MAX_RULE_ID)
        )

    def field(self, message: str, name: str) -> ValueSize:
        """Return the size of a message's field."""
        return self._fields.get(f"{message}.{name}", NUMBER)

    def _measure(self, message: Message) -> ValueSize:
        for field in message.DESCRIPTOR.fields:
            size = self._size(getattr(message, field.name))
            if (entry := _message_of_values(field)) is not None:
                size = replace(size, item=ValueSize(message=entry))
            self._fields[field.full_name] = self._fields.get(field.full_name, size).or_else(size)
        return ValueSize(message=message.DESCRIPTOR.full_name)

    def _size(self, value: Any) -> ValueSize:
        if isinstance(value, Timestamp):
            return NUMBER
        if isinstance(value, Message):
            return self._measure(value)
        if isinstance(value, str):
            return ValueSize(len(value))
        if isinstance(value, Mapping):
            return ValueSize(len(value), self._any(value.values()), self._any(value))
        if hasattr(value, "__len__"):
            return ValueSize(len(value), self._any(value))
        return NUMBER

    def _any(self, values: Iterable[Any]) -> ValueSize:
        return ValueSize.any_of(map(self._size, values))


def _message_of_values(field: Any) -> str | None:
    """Return the type of a map's values if they are messages, else None."""
    if field.message_type is None or not field.message_type.GetOptions().map_entry:
        return None
    value = field.message_type.fields_by_name["value"]
    return value.message_type.full_name if value.message_type else None


_ID = "x" * MAX_ID_BYTES

_REQUESTS = (
    pb.Principal(
        id=_ID,
        role=_ID,
        workspace=_ID,
        key_id=_ID,
        labels={
            f"{n:0{MAX_LABEL_KEY_BYTES}}": "x" * MAX_LABEL_VALUE_BYTES for n in range(MAX_LABELS)
        },
    ),
    policy_pb.Request(
        model=_ID,
        endpoint=max(pb.Endpoint.keys(), key=len),
        service_tier=_ID,
        region=_ID,
        tool_calls={f"{n:0{MAX_TOOL_NAME_BYTES}}": 1 for n in range(MAX_TOOLS)},
    ),
    no_key(_ID),
)
"""Messages of the maximum size that the contract allows."""
