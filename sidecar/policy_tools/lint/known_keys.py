"""Known keys: the keys that maps of the data files have, and the values that a key can have."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from sidecar.policy.cel.operators import field_of, is_operation, literal_of
from sidecar.policy.cel.syntax import Tree, bare, children
from sidecar.policy.files import data, entries
from sidecar.policy_tools.lint.guards import Facts, KeyRead, Value, keys_of, normal_form
from sidecar.policy_tools.lint.names import Field, Names

MAX_SHOWN = 12
"""The most names that a warning lists."""


ID_OF = {"role": "name", "workspace": "name", "model": "id", "key": "id"}
"""The field of each variable that is the name of its entry."""

IN_PRINCIPAL = {"role": "role", "workspace": "workspace", "key": "key_id"}
"""The field of the principal that names each entry."""

ENTRIES = tuple(ID_OF)
"""The variables that are entries of the data files."""

WITHOUT_KEY = "calls without a key"


class KnownKeys:
    """Decides by the data files whether a key always exists where it is read."""

    def __init__(self, names: Mapping[Field, Names], found: data.Data) -> None:
        """Use the possible values of fields, and the entries of the data files."""
        self._names = names
        self._entries = found
        self._of = {variable: list(self._entries_of(variable)) for variable in ENTRIES}

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
        variable, _ = field_of(read.holder) or ("", "")
        return variable in ENTRIES and not any(self._without(read, possible, facts))

    def lacking(self, read: KeyRead, facts: Facts) -> str:
        """Return a text with what lacks the key, "" if that is unknown.

        That is the possible keys that a map literal lacks, or the entries of the data files.
        """
        possible, written = self._values(read.key, facts), keys_of(read.holder)
        if possible is None:
            return ""
        if written is not None:
            return f"; the map has no entry for {listed(map(str, possible - written))}"
        variable, _ = field_of(read.holder) or ("", "")
        lacking = listed(self._without(read, possible, facts)) if variable in ENTRIES else ""
        return f"; it is missing for {lacking}" if lacking else ""

    def _without(self, read: KeyRead, possible: frozenset[Value], facts: Facts) -> Iterator[str]:
        """Yield the entries whose map lacks one of the possible keys."""
        variable, name = field_of(read.holder) or ("", "")
        for fields, called, entry in self._of[variable]:
            reached = all(
                value in facts.values.get(part, {value}) for part, value in fields.items()
            )
            if reached and not possible <= getattr(entry, name, {}).keys():
                yield called

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

    def _entries_of(self, variable: str) -> Iterator[tuple[dict[str, str], str, Any]]:
        """Yield each entry, with what it is called, and the values of fields that name it."""
        for name, entry in getattr(self._entries, f"{variable}s").items():
            fields = {_field(variable, ID_OF[variable]): name}
            if variable == "model":
                fields[_field("model", "family")] = entry.family
            else:
                fields[_field("principal", IN_PRINCIPAL[variable])] = name
            yield fields, name, entry
        if variable == "key":
            fields = {_field("key", "id"): "", _field("principal", "key_id"): ""}
            yield fields, WITHOUT_KEY, entries.KeyEntry(workspace="-")


def listed(names: Iterable[str]) -> str:
    """Return names in order, at most MAX_SHOWN of them, and how many more there are."""
    first = sorted(set(names))
    more = len(first) - MAX_SHOWN
    return ", ".join(first[:MAX_SHOWN]) + (f" and {more} more" if more > 0 else "")


def _field(variable: str, name: str) -> str:
    return f"member_dot(ident({variable}), {name})"
