"""What is written differently in two policy sets: keys of headers, and fields of data entries.

Comments, formatting and the order of entries are no difference, nor is a default that one of
the sets writes out.
"""

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import BaseModel

from sidecar.domain.windows import Window, windows_per_month
from sidecar.policy.cel.cel_python import CelPythonEngine
from sidecar.policy.files import header
from sidecar.policy.policy_set import PolicySet
from sidecar.policy.rules import Rule

_DEFAULTS = {"mode": "enforce", "on_expiry": "charge"}

_DEFAULT_ANCHORS = {("starts_on", "1"), ("starts_on", "monday"), ("starts_at", "00:00")}
"""Left out, because not every window has them."""

_ORDERED = {"endpoints"}
"""Lists whose order counts: the first endpoint is the default. The rest are sets of names."""

_AFRESH = "nothing counts as spent yet"
"""A ledger counts by a limit's name, window, meter and scope."""

_DERIVED = {"names"}
"""Of the data: made from other fields."""


Value = str | tuple[str, ...]
"""Of a field: a text, or a list of names."""


@dataclasses.dataclass(frozen=True, slots=True)
class FieldChange:
    """A key or field that is written differently; None if a set does not have it.

    `kind` is rule, role, workspace, model, key, list or multipliers, `name` the entry's, and
    `field` is empty where the whole entry is new or gone. `meaning` says what follows, if that
    is not plain from the values.
    """

    kind: str
    name: str
    field: str
    before: str | None
    after: str | None
    meaning: str = ""


def rule_changes(old: PolicySet, new: PolicySet) -> Iterator[FieldChange]:
    """Find the keys that differ in the headers of rules that both sets have, and new names."""
    before, after = ({rule.id: rule for rule in each.rules} for each in (old, new))
    for rule_id in sorted(before.keys() - after.keys()):
        for new_id in sorted(after.keys() - before.keys()):
            if _same_rule(before[rule_id], after[new_id]):
                is_limit = before[rule_id].limit is not None
                meaning = _AFRESH if is_limit else ""
                yield FieldChange("rule", rule_id, "name", rule_id, new_id, meaning)
                break
    for rule_id in sorted(before.keys() & after.keys()):
        one, other = header_of(before[rule_id]), header_of(after[rule_id])
        for key in sorted(one.keys() | other.keys()):
            was, is_now = one.get(key), other.get(key)
            if was != is_now:
                meaning = _meaning(key, was, is_now)
                yield FieldChange("rule", rule_id, key, was, is_now, meaning)


def entry_changes(old: PolicySet, new: PolicySet) -> Iterator[FieldChange]:
    """Find the fields that differ in the data files, and the entries that one set lacks."""
    for section in dataclasses.fields(old.entries):
        if section.name in _DERIVED:
            continue
        one, other = (getattr(each.entries, section.name) for each in (old, new))
        if isinstance(one, BaseModel):
            yield from _entry_changes(section.name, "", one, other)
            continue
        kind = section.name.removesuffix("s")
        for name in sorted(one.keys() | other.keys()):
            if name in one and name in other:
                yield from _entry_changes(kind, name, one[name], other[name])
            else:
                there = ("present", None) if name in one else (None, "present")
                yield FieldChange(kind, name, "", *there)


def header_of(rule: Rule) -> Mapping[str, str]:
    """Return a rule's header, with defaults filled in."""
    entries, _ = header.parse(f"{rule.id}.cel", rule.body.source)
    allowed = header.KEYS_BY_EFFECT[rule.effect]
    found = {key: value for key, value in _DEFAULTS.items() if key in allowed}
    found |= {
        key: entry.value
        for key, entry in entries.items()
        if (key, entry.value) not in _DEFAULT_ANCHORS
    }
    if rule.limit is not None:
        thresholds = rule.limit.alert_at_percent
        found["alert_at"] = ", ".join(f"{percent}%" for percent in thresholds) or "none"
    return found


def _same_rule(one: Rule, other: Rule) -> bool:
    return header_of(one) == header_of(other) and same_body(one, other)


def same_body(one: Rule, other: Rule) -> bool:
    """Whether two rules have the same expression, however it is formatted."""
    parser = CelPythonEngine()
    sources = (one.body.source, other.body.source)
    return sources[0] == sources[1] or parser.parse(sources[0]) == parser.parse(sources[1])


def per(window: Window) -> str:
    """Return the words for a window after an amount, such as "a day"."""
    match window:
        case Window.CONCURRENT:
            return "at once"
        case Window.TOTAL:
            return "in total"
    return f"{'an' if window is Window.HOUR else 'a'} {window.value}"


def _entry_changes(
    kind: str, name: str, one: BaseModel | tuple[str, ...], other: BaseModel | tuple[str, ...]
) -> Iterator[FieldChange]:
    if one == other:
        return
    before, after = (dict(_fields(_plain(each), "")) for each in (one, other))
    for path in sorted(before.keys() | after.keys()):
        was, is_now = before.get(path), after.get(path)
        if was != is_now:
            texts = [_text(value) for value in (was, is_now)]
            yield FieldChange(kind, name, path, texts[0], texts[1], _of_lists(was, is_now))


def _plain(entry: BaseModel | tuple[str, ...]) -> object:
    return {"texts": list(entry)} if isinstance(entry, tuple) else entry.model_dump(mode="json")


def _text(value: Value | None) -> str | None:
    return (", ".join(value) or "none") if isinstance(value, tuple) else value


def _of_lists(before: Value | None, after: Value | None) -> str:
    """Say which names of a list are new, and which are gone."""
    if not (isinstance(before, tuple) and isinstance(after, tuple)):
        return ""
    parts = (
        ("added", [name for name in after if name not in before]),
        ("removed", [name for name in before if name not in after]),
    )
    return "; ".join(f"{what} {', '.join(names)}" for what, names in parts if names)


def _fields(value: Any, path: str) -> Iterator[tuple[str, Value]]:
    """Yield each field by its path; a list of maps by the first field of each, as a price's day."""
    if isinstance(value, dict):
        for name, inner in value.items():
            yield from _fields(inner, f"{path}.{name}" if path else name)
    elif isinstance(value, list) and value and isinstance(value[0], dict):
        for inner in value:
            yield from _fields(inner, f"{path}[{next(iter(inner.values()))}]")
    elif isinstance(value, list):
        yield path, tuple(value if path in _ORDERED else sorted(value))
    else:
        yield path, "none" if value is None else str(value)


def _meaning(key: str, before: str | None, after: str | None) -> str:
    """Say what follows from another value of a key; "" where the values say it."""
    if key in ("starts_on", "starts_at"):
        return "what is spent in windows that have not ended still counts"
    if before is None or after is None:  # a key of another effect
        return ""
    if key == "window":
        return _of_window(Window(before), Window(after))
    return {
        ("per", after): f"the ceiling is for each {after}, no longer for each {before}; {_AFRESH}",
        ("meter", after): f"the ceiling is of {after}, no longer of {before}; {_AFRESH}",
        ("mode", "enforce"): "it decides calls now",
        ("mode", "shadow"): "it decides no calls any more",
        ("on_expiry", "charge"): "a call whose end is never reported is charged",
        ("on_expiry", "release"): "a call whose end is never reported costs nothing",
    }.get((key, after), "")


def _of_window(before: Window, after: Window) -> str:
    """Say what a month may cost, in ceilings."""
    now, was = (_ceilings_per_month(window) for window in (after, before))
    return f"{now}; before, {was}; {_AFRESH}"


def _ceilings_per_month(window: Window) -> str:
    count = windows_per_month(window)
    if count is None:
        return "no bound on what a month adds up to"
    if count > 1:
        return f"up to {count:,} times the ceiling in a month"
    is_longer = window not in (Window.MONTH, Window.CONCURRENT)
    return f"the ceiling once {per(window)}" + (", which one month may use up" if is_longer else "")
