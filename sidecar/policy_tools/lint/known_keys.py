"""Known keys: the keys that maps of the data files have, and the values that a key can have."""

from collections.abc import Iterator, Mapping
from typing import Any

from sidecar.policy.cel.operators import field_of, is_operation, literal_of
from sidecar.policy.cel.syntax import Tree, bare, children
from sidecar.policy.files import data
from sidecar.policy_tools.lint.guards import Facts, KeyRead, Value, keys_of, normal_form
from sidecar.policy_tools.lint.names import Field, Names

MAX_SHOWN = 3
"""The most missing keys that a warning lists."""


class KnownKeys:
    """Decides by the data files whether a key always exists where it is read."""

    def __init__(self, names: Mapping[Field, Names], entries: data.Data) -> None:
        """Use the possible values of fields, and the entries of the data files."""
        self._names = names
        self._entries = entries
        self._of = {
            variable: list(self._entries_of(variable))
            for variable in ("role", "workspace", "model")
        }

    def has(self, read: KeyRead, facts: Facts) -> bool:
        """Whether the map has the key wherever it is read."""
        if read.identity in facts.present:
            return True
        possible = self._values(read.key, facts)
        if possible is None:
            return False
        written = keys_of(read.holder)
        if written is not None:
            return possible <= written
        variable, name = field_of(read.holder) or ("", "")
        return variable in self._of and all(
            possible <= getattr(entry, name, {}).keys()
            for fields, entry in self._of[variable]
            if all(value in facts.values.get(part, {value}) for part, value in fields.items())
        )

    def lacking(self, read: KeyRead) -> str:
        """Return a text with the possible keys that a map literal lacks, "" if they are unknown."""
        possible, written = self._values(read.key, Facts()), keys_of(read.holder)
        if possible is None or written is None or not possible - written:
            return ""
        left_out = sorted(map(str, possible - written))
        more = ", …" if len(left_out) > MAX_SHOWN else ""
        return f"; it may be {', '.join(left_out[:MAX_SHOWN])}{more}"

    def _values(self, key: Tree | str, facts: Facts) -> frozenset[Value] | None:
        """Return all possible values of a key, or None if they are unknown."""
        if isinstance(key, str):
            return frozenset({key})
        key = bare(key)
        literal = literal_of(key)
        if literal is not None:
            return frozenset({literal})
        if is_operation(key, "expr"):
            _, yes, no = children(key)
            one, other = self._values(yes, facts), self._values(no, facts)
            return None if one is None or other is None else one | other
        by_guard, by_data = facts.values.get(normal_form(key)), self._by_data(key)
        if by_guard is None or by_data is None:
            return by_guard if by_data is None else by_data
        return by_guard & by_data

    def _by_data(self, key: Tree) -> frozenset[Value] | None:
        field = field_of(key)
        known = self._names.get(field) if field is not None else None
        return None if known is None else frozenset(known.known)

    def _entries_of(self, variable: str) -> Iterator[tuple[dict[str, str], Any]]:
        if variable == "role":
            for name, role in self._entries.roles.items():
                yield {_field("role", "name"): name, _field("principal", "role"): name}, role
        elif variable == "workspace":
            for name, workspace in self._entries.workspaces.items():
                named = {_field("workspace", "name"): name, _field("principal", "workspace"): name}
                yield named, workspace
        elif variable == "model":
            for name, model in self._entries.models.items():
                yield {_field("model", "id"): name, _field("model", "family"): model.family}, model


def _field(variable: str, name: str) -> str:
    return f"member_dot(ident({variable}), {name})"
