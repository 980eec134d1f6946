"""Warnings: what loads and is probably not meant. Each has a row in docs/lints.md."""

import re
from pathlib import Path

import pytest
from support.policies import SHIPPED, deny, limit, minimal

from sidecar.policy import data, directory, policy_set
from sidecar.policy.lint import lint

DOCUMENT = (Path(__file__).parents[2] / "docs" / "lints.md").read_text()

LABEL = 'principal.labels["team"] == "ml"'
GUARDED = f'"team" in principal.labels && {LABEL}'
ALLOW_ML = f"// METADATA\n// effect: allow\n// owner: a@b\n{LABEL}\n"
WORKSPACE = "workspaces:\n  w:\n    monthly_budget_usd: 5\n    requests_per_minute: 1\n"

# the warning, the files, where it is, what it suggests
WARNED = [
    ("no-such-model", {"w_yaml": WORKSPACE + "    allowed_models: [smal]\n"},
     "w.yaml:5:22", "did you mean 'small'?"),
    ("no-such-workspace", {"k_yaml": "keys:\n  k: {workspace: lap}\n"},
     "k.yaml:2:7", "did you mean 'lab'?"),
    ("no-price", {"money": limit("10", meter="cost")}, "models.yaml:", "a free model has the price 0"),
    ("unguarded-label", {"x": deny(LABEL)}, "x.cel:8:1", '"team" in principal.labels'),
    ("unguarded-label", {"x": deny('principal.labels.team == "ml"')}, "x.cel:8:1", "guard it"),
    ("unguarded-label", {"x": limit("5", per='principal.labels["team"]')}, "x.cel:9:9", "guard it"),
    ("constant-rule", {"x": deny('role.name == "ghost"')}, "x.cel:8:1", ""),
    ("constant-rule", {"x": deny("true")}, "x.cel:8:1", ""),
    ("limit-never-bites", {"x": limit("workspace.requests_per_minute")}, "x.cel:10:1", ""),
    ("limit-always-bites", {"x": limit("0")}, "x.cel:10:1", ""),
    ("same-as-another", {"a": deny("request.tokens > 5"), "b": deny("request.tokens  > 5")},
     "b.cel:8:1", "one of them is enough"),
]  # fmt: skip

NOT_WARNED = [
    ("a guarded label", {"x": deny(GUARDED)}),
    ("a label guarded by has()", {"x": deny(f"has(principal.labels.team) && {LABEL}")}),
    ("an allow rule without a guard", {"x": ALLOW_ML}),
    ("a limit that bites some", {"x": limit('role.name == "tester" ? 5 : unlimited')}),
    ("a rule of the request", {"x": deny("request.tokens > 5")}),
    ("a rule of keys that are not listed", {"x": deny('key.state == "revoked"')}),
    ("a limit of another scope", {"a": limit("5"), "b": limit("5", per="principal.id")}),
]


def warnings(path: Path) -> list[tuple[str, str]]:
    """Return the name and the text of each warning."""
    files = directory.read(path)
    entries, _ = data.read(files.data)
    return [(p.lint, str(p)) for p in lint(files, policy_set.load(path), entries)]


@pytest.mark.parametrize(("name", "files", "place", "hint"), WARNED)
def test_what_is_probably_not_meant_is_told_at_its_place(
    name: str, files: dict[str, str], place: str, hint: str, tmp_path: Path
) -> None:
    """Each warning can come, names its place, and says what to do."""
    found = warnings(minimal(tmp_path / "p", **files))
    assert any(lint == name and place in text and hint in text for lint, text in found), found


@pytest.mark.parametrize("files", [f for _, f in NOT_WARNED], ids=[n for n, _ in NOT_WARNED])
def test_what_is_meant_is_not_warned_of(files: dict[str, str], tmp_path: Path) -> None:
    """A warning that comes for good rules is one that nobody reads."""
    assert warnings(minimal(tmp_path / "p", **files)) == []


def test_the_shipped_policies_have_no_warnings() -> None:
    """What we ship is what we would have others write."""
    assert warnings(SHIPPED) == []


def test_every_warning_is_documented_and_tested() -> None:
    """docs/lints.md has a row for each, and so has the table above."""
    documented = set(re.findall(r"^\| `([\w-]+)` \|", DOCUMENT, re.MULTILINE))
    assert documented == {name for name, *_ in WARNED}
    source = (Path(lint.__code__.co_filename)).read_text()
    assert documented == set(
        re.findall(r'"((?:no|limit|same|constant|unguarded)-[a-z-]+)"', source)
    )
