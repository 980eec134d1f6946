"""Warnings: what loads and is probably not meant. Each has a row in docs/lints.md."""

import re
from pathlib import Path

import pytest
from support.policies import MODELS, ROLES, SHIPPED, deny, limit, minimal

from sidecar.policy import data, directory, policy_set
from sidecar.policy.lint import lint

DOCUMENT = (Path(__file__).parents[2] / "docs" / "lints.md").read_text()

LABEL = 'principal.labels["team"] == "ml"'
GUARDED = f'"team" in principal.labels && {LABEL}'
ALLOW_ML = f"// METADATA\n// effect: allow\n// owner: a@b\n{LABEL}\n"
WORKSPACE = "workspaces:\n  w:\n    monthly_budget_usd: 5\n    requests_per_minute: 1\n"

PRICED = MODELS.replace(
    "    family: free\n",
    """    family: free
    prices:
    - {effective_from: 2020-01-01, input_usd_per_million_tokens: 0}
""",
)
TWO_ROLES = ROLES + ROLES.replace("roles:", "").replace("tester", "other")

# the warning, the files, where it is, what it suggests
WARNED = [
    ("no-such-model", {"w_yaml": WORKSPACE + "    allowed_models: [smal]\n"},
     "w.yaml:5:22", "did you mean 'small'?"),
    ("no-such-workspace", {"k_yaml": "keys:\n  k: {workspace: lap}\n"},
     "k.yaml:2:18", "did you mean 'lab'?"),
    ("no-price", {"money": limit("10", meter="cost")}, "models.yaml:", "a free model has the price 0"),
    ("unguarded-label", {"x": deny(LABEL)}, "x.cel:8:1", '"team" in principal.labels'),
    ("unguarded-label", {"x": deny('principal.labels.team == "ml"')}, "x.cel:8:1", "guard it"),
    ("unguarded-label", {"x": limit("5", per='principal.labels["team"]')}, "x.cel:9:9", "give those without it"),
    ("constant-rule", {"x": deny('role.name == "ghost"')}, "x.cel:8:1", ""),
    ("constant-rule", {"x": deny("true")}, "x.cel:8:1", ""),
    ("limit-never-bites", {"x": limit("workspace.requests_per_minute")}, "x.cel:10:1", ""),
    ("limit-always-bites", {"x": limit("0")}, "x.cel:10:1", ""),
    ("same-as-another", {"a": deny("request.tokens > 5"), "b": deny("request.tokens  > 5")},
     "b.cel:8:1", "one of them is enough"),
    ("same-as-another", {"a": deny("request.tokens > 5 && request.batch"),
                         "b": deny("(request.batch && (request.tokens > 5))")},
     "b.cel:8:1", "one of them is enough"),
    ("shadowed-rule", {"a": deny("request.tokens > 5"), "b": deny("request.batch && request.tokens > 5")},
     "b.cel:8:1: warning: holds only where a holds", "remove the narrower"),
    ("shadowed-rule", {"x": ALLOW_ML}, "x.cel:4:1: warning: holds only where allow-all holds", ""),
    ("limit-never-bites", {"a": limit("500", window="minute"), "b": limit("100", window="month")},
     "a.cel:10:1: warning: never below the ceiling of b", "a minute should have less than a month"),
    ("unit-mismatch", {"x": limit("role.daily_token_budget")},
     "x.cel:10:1: warning: the limit counts requests, and daily_token_budget is tokens", "`meter: tokens`"),
    ("unit-mismatch", {"x": limit("role.daily_token_budget", meter="tokens", window="month")},
     "x.cel:10:1: warning: the window is month, and daily_token_budget is for a day", "`window: day`"),
    ("unit-mismatch", {"models_yaml": PRICED, "a": limit("10", meter="cost"),
                       "b": deny('spend["a"].used > 5')},
     "b.cel:8:19", "a dollar is 1000000000"),
    ("no-rule-reads", {"w_yaml": WORKSPACE + "    allowed_models: ['*']\n"},
     "w.yaml:3:25: warning: no rule reads workspace.monthly_budget_usd", "write a rule that does"),
    ("no-rule-allows", {"allow_all": ALLOW_ML.replace(LABEL, f'role.name == "boss" && {LABEL}')},
     "roles.yaml:3:3", "write an allow rule for it"),
    ("no-rule-allows", {"allow_all": ALLOW_ML.replace(LABEL, 'workspace.name == "attic"')},
     "workspaces.yaml:3:3", "write an allow rule for it"),
]  # fmt: skip

NOT_WARNED = [
    ("a guarded label", {"x": deny(GUARDED)}),
    ("a label guarded by has()", {"x": deny(f"has(principal.labels.team) && {LABEL}")}),
    ("an allow rule without a guard", {"allow_all": ALLOW_ML}),
    (
        "two rules of which neither is about more",
        {
            "a": deny("request.tokens > 5 && request.pages > 1"),
            "b": deny("request.tokens > 5 && request.pages > 2"),
        },
    ),
    (
        "a rule on trial beside a broader one",
        {
            "a": deny("request.tokens > 5"),
            "b": deny("request.tokens > 5 && request.batch", mode="shadow"),
        },
    ),
    (
        "a minute with less than a day",
        {
            "a": limit("5", window="minute"),
            "b": limit("50", window="day"),
        },
    ),
    (
        "a minute with more than a day of another scope",
        {
            "a": limit("500", window="minute"),
            "b": limit("50", window="day", per="principal.id"),
        },
    ),
    (
        "a field with the unit of its limit",
        {
            "w_yaml": WORKSPACE + "    allowed_models: []\n",
            "a": limit("workspace.requests_per_minute", window="minute"),
            "b": deny("workspace.monthly_budget_usd < 3.0 && request.batch"),
        },
    ),
    (
        "dollars in nano-USD",
        {
            "models_yaml": PRICED,
            "a": limit("10", meter="cost"),
            "b": deny('spend["a"].used > 5000000000'),
        },
    ),
    (
        "a role that some call may have",
        {
            "roles_yaml": TWO_ROLES,
            "allow_all": ALLOW_ML.replace(LABEL, f'role.name == "tester" || {LABEL}'),
        },
    ),
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
    folder = Path(lint.__code__.co_filename).parent
    source = "".join(file.read_text() for file in folder.glob("lints_of_*.py"))
    assert documented == set(
        re.findall(r'"((?:no|limit|same|constant|unguarded|unit|shadowed)-[a-z-]+)"', source)
    )
