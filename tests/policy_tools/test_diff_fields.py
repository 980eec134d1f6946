"""`sidecar diff` names everything that is written differently, whatever it decides."""

import typing
from collections.abc import Iterator, Mapping
from datetime import date
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import BaseModel
from support.authorizer_harness import NOON
from support.policies import ALLOW_ALL, ROLES, deny, limit, minimal

from sidecar.policy import policy_set
from sidecar.policy.files import header, values
from sidecar.policy.files.entries import DataFile
from sidecar.policy_tools.diff.diff import PolicyDiff, compare

HEADER = {
    "alert_at": "60%",
    "description": "another text",
    "effect": "deny",
    "http_status": "403",
    "message": "another text",
    "meter": "cost",
    "mode": "shadow",
    "on_expiry": "release",
    "owner": "other@example.com",
    "per": "principal.id",
    "reason": "ANOTHER",
    "starts_at": "09:00",
    "starts_on": "15",
    "window": "day",
}
"""Another value for each key of a header."""

WRITTEN = [
    (values.Instant, (date(2020, 1, 1), date(2021, 1, 1))),
    (values.CountOrNone, (5, "unlimited")),
    (values.Budget, (5, 6.5)),
    (values.Usd, (2, 3)),
    (values.Factor, (0.5, 0.25)),
    (values.Discount, (0.5, 0.25)),
    (str, ("a", "b")),
    (int, (1, 2)),
]
"""Two values of each type that data files may have."""

NEEDED = {
    "cached_input_usd_per_million_tokens": (1, 0.5),  # no more than fresh input
    "expires": (date(2030, 1, 1), date(2031, 1, 1)),  # after it was created
    "replaced_by": ("small-1", "free-1"),  # models that are there
}
"""Two values of fields that depend on others."""


def between(old: Path, new: Path) -> PolicyDiff:
    """Compare two directories."""
    return compare(policy_set.load(old), policy_set.load(new), NOON)


def header_with(key: str, value: str) -> str:
    """Write a limit with another value of a key; an effect other than limit lacks its keys."""
    if key == "effect":
        return ALLOW_ALL.replace("effect: allow", f"effect: {value}\n// reason: NO").replace(
            "// reason", "// http_status: 403\n// message: no\n// reason"
        )
    lines = limit("5", window="month").splitlines()
    header_lines = [line for line in lines[1:-1] if not line.startswith(f"// {key}:")]
    return "\n".join([lines[0], *header_lines, f"// {key}: {value}", lines[-1], ""])


@pytest.mark.parametrize("key", sorted(header.KNOWN))
def test_each_key_of_a_header_that_changes_alone_is_a_change(key: str, tmp_path: Path) -> None:
    """The keys are those that the loader knows, so that none is forgotten."""
    old = minimal(tmp_path / "old", rule=limit("5", window="month"))
    found = between(old, minimal(tmp_path / "new", rule=header_with(key, HEADER[key])))
    changed = {(each.kind, each.name, each.field): each for each in found.fields}
    assert changed["rule", "rule", key].after == HEADER[key]
    assert found.changed == ("rule",)


class _Plain(yaml.SafeDumper):
    """Writes each value where it is, as policy directories need it."""

    def ignore_aliases(self, _data: Any) -> bool:
        """Never refer to an earlier value."""
        return True


Variant = tuple[str, Any, Any]
"""A path in the data, and two values of its beginning that differ there alone."""


def variants(hint: Any) -> Iterator[Variant]:
    """Yield each path in values of a type."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    scalars = [pair for written, pair in WRITTEN if hint == written]
    if origin is typing.Literal:
        scalars = [arguments[:2]]
    if scalars:
        yield "", *scalars[0]
    elif isinstance(hint, type) and issubclass(hint, BaseModel):
        yield from variants_of_entry(hint)
    elif origin is tuple:
        for path, one, other in variants(arguments[0]):
            yield (f"[2020-01-01]{path}", [one], [other]) if path else ("", [one], [one, other])
    elif isinstance(origin, type) and issubclass(origin, Mapping):
        for path, one, other in variants(arguments[1]):
            yield f".x{path}", {"x": one}, {"x": other}
    else:  # optional, or with bounds
        yield from variants(next(each for each in arguments if each is not type(None)))


def variants_of_entry(model: type[BaseModel]) -> Iterator[Variant]:
    """Yield each path in an entry that has every field."""
    hints = typing.get_type_hints(model, include_extras=True)
    found = {
        name: [("", *NEEDED[name])] if name in NEEDED else list(variants(hints[name]))
        for name in model.model_fields
    }
    entry = {name: of_field[0][1] for name, of_field in found.items()}
    for name, of_field in found.items():
        for path, _, other in of_field:
            yield f".{name}{path}", entry, {**entry, name: other}


def paths(found: PolicyDiff) -> set[str]:
    """Return the paths of what is written differently in data files."""
    return {
        f".{each.kind}.{each.field}" if each.kind == "multipliers"
        else f".{each.kind}s.{each.name}.{each.field}".removesuffix(".texts")
        for each in found.fields
    }  # fmt: skip


@pytest.mark.parametrize("variant", list(variants(DataFile)), ids=lambda each: each[0][1:])
def test_each_field_of_the_data_that_changes_alone_is_a_change(
    variant: Variant, tmp_path: Path
) -> None:
    """The fields are those that the loader knows, so that none is forgotten."""
    path, *contents = variant
    old, new = (
        minimal(tmp_path / name, x_yaml=yaml.dump(content, Dumper=_Plain))
        for name, content in zip(("old", "new"), contents, strict=True)
    )
    found = paths(between(old, new))
    if path.endswith(".effective_from"):  # of another day, it is another price
        assert path in found
    else:
        assert found == {path}


def test_what_is_only_written_differently_is_no_change(tmp_path: Path) -> None:
    """Comments, blanks, the order of names and of entries, and defaults that are written out."""
    old = minimal(tmp_path / "old", rule=limit("5 + 1"), roles_yaml=ROLES)
    text = limit("5+1 // six", extra="// on_expiry: charge\n// alert_at: 100%, 50%, 80%\n")
    roles = ROLES.replace('["*"]', '["*"] # all') + "    labels: {}\n"
    new = minimal(tmp_path / "new", rule=text, roles_yaml=roles)
    found = between(old, new)
    assert (found.fields, found.changed, found.changes) == ((), (), ())


def test_a_window_that_begins_where_it_always_did_is_no_change(tmp_path: Path) -> None:
    """Anchors have defaults, too; another anchor is a change."""
    plain, default, other = (
        minimal(tmp_path / str(n), rule=limit("5", window="week", extra=extra))
        for n, extra in enumerate(
            ["", "// starts_on: monday\n// starts_at: 00:00\n", "// starts_on: sunday\n"]
        )
    )
    assert between(plain, default).fields == ()
    assert [(f.field, f.before, f.after) for f in between(plain, other).fields] == [
        ("starts_on", None, "sunday")
    ]


def test_an_entry_that_is_new_or_gone_is_named_once(tmp_path: Path) -> None:
    """Its fields are not listed one by one."""
    old = minimal(tmp_path / "old", x_yaml="keys:\n  a: {workspace: lab}\n")
    new = minimal(tmp_path / "new", x_yaml="keys:\n  b: {workspace: lab}\n")
    assert [
        (each.name, each.field, each.before, each.after) for each in between(old, new).fields
    ] == [
        ("a", "", "present", None),
        ("b", "", None, "present"),
    ]


def test_prices_are_compared_by_their_day(tmp_path: Path) -> None:
    """A price before another one does not make that one another."""
    prices = "      - {effective_from: 2020-01-01, usd_per_thousand_pages: 2}\n"
    first = "      - {effective_from: 2019-01-01, usd_per_thousand_pages: 1}\n"
    old, new = (
        minimal(tmp_path / name, x_yaml=f"models:\n  m:\n    family: f\n    prices:\n{each}")
        for name, each in (("old", prices), ("new", first + prices))
    )
    assert all(each.field.startswith("prices[2019-01-01].") for each in between(old, new).fields)


def test_a_rule_of_another_name_is_said_to_be_renamed(tmp_path: Path) -> None:
    """A ledger counts by a limit's name, so that its budgets begin anew."""
    old = minimal(tmp_path / "old", money=limit("5"), no=deny("false"))
    new = minimal(tmp_path / "new", budget=limit("5"), never=deny("false"))
    found = between(old, new)
    assert (found.added, found.removed, found.changed) == (("budget", "never"), ("money", "no"), ())
    assert [(f.name, f.field, f.after, f.meaning) for f in found.fields] == [
        ("money", "name", "budget", "nothing counts as spent yet"),
        ("no", "name", "never", ""),
    ]


def test_of_a_list_what_is_new_and_gone_is_named(tmp_path: Path) -> None:
    """The order of names is no difference; that of endpoints is: the first is the default."""
    old, new, reordered = (
        minimal(tmp_path / name, roles_yaml=ROLES.replace('["*"]', f"[{names}]"))
        for name, names in (("old", "a, b, c"), ("new", "b, d, c"), ("reordered", "c, a, b"))
    )
    (field,) = between(old, new).fields
    assert (field.before, field.after, field.meaning) == (
        "a, b, c", "b, c, d", "added d; removed a"
    )  # fmt: skip
    assert between(old, reordered).fields == ()
    one, other = (
        minimal(tmp_path / each, x_yaml=f"models:\n  m: {{family: f, endpoints: [{each}]}}\n")
        for each in ("CHAT, FIM", "FIM, CHAT")
    )
    assert [field.field for field in between(one, other).fields] == ["endpoints"]
