"""What a change of the shipped policies does to calls, as `sidecar diff` shows it."""

from pathlib import Path
from typing import Any

import pytest
from support.authorizer_harness import NOON
from support.diff import agrees, decision
from support.policies import SHIPPED, WORKSPACES, deny, limit, minimal, shipped

from sidecar.policy import policy_set
from sidecar.policy_tools.diff.cases import CaseSpace
from sidecar.policy_tools.diff.comparison import Comparison, unreported
from sidecar.policy_tools.diff.diff import PolicyDiff, compare
from sidecar.policy_tools.diff.outcomes import parts_of
from sidecar.policy_tools.diff.rule_reader import read

GROUPS = """\
"group" in principal.labels &&
principal.labels["group"] in ["sales", "hr", "legal", "support", "finance", "design", "ops"] &&
model.family != "mistral-small"
"""


def between(old: Path, new: Path) -> PolicyDiff:
    """Compare two directories."""
    return compare(policy_set.load(old), policy_set.load(new), NOON)


def edited(directory: Path, file: str, old: str, new: str) -> Path:
    """Copy the shipped policies with a change of one file."""
    path = shipped(directory) / file
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))
    return directory


def ceilings(found: PolicyDiff, workspace: str) -> set[tuple[str, str, str]]:
    """Return the rules whose ceilings change for a workspace, with both."""
    return {
        (rule, one, other)
        for change in found.changes
        if change.workspace == workspace
        for (rule, one), (_, other) in zip(
            change.before.ceilings, change.after.ceilings, strict=True
        )
    }


def test_a_budget_of_another_window_is_shown_with_what_a_month_may_cost(tmp_path: Path) -> None:
    """A budget of 50 USD a month that becomes one a day is up to 1,550 USD a month."""
    new = edited(tmp_path / "new", "workspace-monthly-budget.cel", "window: month", "window: day")
    found = between(SHIPPED, new)
    (field,) = found.fields
    assert (found.changed, field.field, field.before, field.after, field.meaning) == (
        ("workspace-monthly-budget",),
        "window",
        "month",
        "day",
        "up to 31 times the ceiling in a month; before, the ceiling once a month;"
        " nothing counts as spent yet",
    )
    assert ceilings(found, "dev-workspace") == {
        ("workspace-monthly-budget", "$50.00 a month", "$50.00 a day, up to $1,550.00 a month")
    }


def test_a_budget_that_is_for_others_is_a_change(tmp_path: Path) -> None:
    """Another scope (`per`) is shown with each ceiling that it changes."""
    new = edited(
        tmp_path / "new", "workspace-monthly-budget.cel", "per: workspace.name", "per: principal.id"
    )
    found = between(SHIPPED, new)
    (field,) = found.fields
    assert (field.field, field.before, field.after) == ("per", "workspace.name", "principal.id")
    assert ceilings(found, "dev-workspace") == {
        (
            "workspace-monthly-budget",
            "$50.00 for each workspace.name",
            "$50.00 for each principal.id",
        )
    }


def test_a_label_with_many_values_is_compared_exactly(tmp_path: Path) -> None:
    """Values that are decided alike are one row, however many cases they make."""
    new = shipped(tmp_path / "new")
    (new / "group-models.cel").write_text(deny(GROUPS))
    found = between(SHIPPED, new)
    assert found.cases > 200_000
    assert (found.added, found.sampled) == (("group-models",), None)
    newly_denied = [each for each in found.changes if not each.before.denied]
    groups = ("design", "finance", "hr", "legal", "ops", "sales", "support")
    assert {dict(change.choices)["group"] for change in newly_denied} == {groups}
    assert all(change.every for change in newly_denied)


def test_a_budget_beside_a_label_with_many_values_is_compared_exactly(tmp_path: Path) -> None:
    """A rule that did not change, and reads many values, does not make a change inexact."""
    old, new = (shipped(tmp_path / name) for name in ("old", "new"))
    for each in (old, new):
        (each / "group-models.cel").write_text(deny(GROUPS))
    text = (new / "workspaces.yaml").read_text()
    (new / "workspaces.yaml").write_text(text.replace("usd: 50\n", "usd: 60\n"))
    found = between(old, new)
    (field,) = found.fields
    assert (field.kind, field.name, field.before, field.after) == (
        "workspace", "dev-workspace", "50", "60"
    )  # fmt: skip
    assert {each.workspace for each in found.changes} == {"dev-workspace"}
    assert ceilings(found, "dev-workspace") == {("workspace-monthly-budget", "$50.00", "$60.00")}
    assert (found.sampled, [each for each in found.not_exact if each.reads != "now"]) == (None, [])


@pytest.mark.parametrize(
    ("window", "expected"),
    [
        ("minute", "7 requests a minute, up to 312,480 requests a month"),
        ("hour", "7 requests an hour, up to 5,208 requests a month"),
        ("week", "7 requests a week, up to 35 requests a month"),
        ("month", "7 requests a month"),
        ("quarter", "7 requests a quarter, up to 7 requests a month"),
        ("total", "7 requests in total, up to 7 requests a month"),
        ("concurrent", "7 requests at once"),
    ],
)
def test_each_window_is_shown_with_its_ceiling(window: str, expected: str, tmp_path: Path) -> None:
    """Calls at one time do not add up over a month."""
    old = minimal(tmp_path / "old", calls=limit("7", window="day"))
    new = minimal(tmp_path / "new", calls=limit("7", window=window))
    assert ceilings(between(old, new), "lab") == {
        ("calls", "7 requests a day, up to 217 requests a month", expected)
    }


def test_budgets_that_become_one_are_a_change(tmp_path: Path) -> None:
    """A scope read from labels may make two workspaces share one ceiling."""
    rule = limit("7", per='workspace.labels["center"]')
    old, new = (
        minimal(
            tmp_path / c, calls=rule, workspaces_yaml=f"{WORKSPACES}    labels: {{center: {c}}}"
        )
        for c in ("one", "two")
    )
    assert ceilings(between(old, new), "lab") == {
        ("calls", "7 requests for one", "7 requests for two")
    }


EDITS = [
    ("workspaces.yaml", "usd: 50\n", "usd: 60\n"),
    (
        "workspaces.yaml",
        'allowed_models: ["*"]',
        "allowed_models: [codestral]",
    ),
    ("roles.yaml", "max_tokens_per_request: 2000", "max_tokens_per_request: 2500"),
    ("roles.yaml", "  analyst:", "  researcher:"),
    ("keys.yaml", "state: revoked", "state: active"),
    ("models.yaml", "family: mistral-small", "family: mistral-tiny"),
    ("allow-ml-workspace.cel", '"ml"', '"web"'),
    ("key-models.cel", "key.allowed_models", "role.allowed_models"),
    (
        "workspace-monthly-budget.cel",
        "workspace.monthly_budget_usd",
        "workspace.monthly_budget_usd * 0.0",
    ),
    ("role-request-size.cel", ">", ">="),
]


@pytest.mark.parametrize(("file", "old", "new"), EDITS)
def test_rule_by_rule_is_as_all_rules_together(
    file: str, old: str, new: str, tmp_path: Path
) -> None:
    """Combining the rules one by one gives what a sidecar decides, in every case."""
    sets = [policy_set.load(each) for each in (SHIPPED, edited(tmp_path / "new", file, old, new))]
    reading = read(*sets)
    space = CaseSpace(sets[0], sets[1], reading, NOON)
    parts = [parts_of(each, reading, NOON) for each in sets]
    diagram = Comparison(parts[0], parts[1], set(), unreported).diagram(space.levels)
    differing = 0
    for case in space.sample(7, 250):
        node = diagram
        for level, values in enumerate(space.levels):
            node = node.child(
                level, next(i for i, v in enumerate(values) if v.items() <= case.items())
            )
        before, after = (decision(each, case, 2) for each in sets)
        result: Any = node.result
        if result is None:
            assert before == after
        else:
            differing += 1
            assert all(agrees(*each) for each in zip(sets, (case, case), result, strict=True))
    assert differing
