"""What changes for whom between two policy directories."""

from pathlib import Path

import pytest
from support.deciding import NOON
from support.policies import ROLES, SHIPPED, WORKSPACES, deny, limit, minimal, shipped

from sidecar import comparison
from sidecar.comparison import Comparison, TooManyCasesError, compare
from sidecar.policy import policy_set


def between(old: Path, new: Path, engine: str = "cel-cpp") -> Comparison:
    """Compare two directories."""
    return compare(policy_set.load(old, engine), policy_set.load(new, engine), NOON)


def told(found: Comparison) -> set[tuple[str, ...]]:
    """Return for whom something changes."""
    return {(c.role, c.workspace, *(f"{n}={v}" for n, v in c.labels)) for c in found.changes}


def test_a_set_does_not_differ_from_itself(engine: str, tmp_path: Path) -> None:
    """Nothing is added, removed or changed, for anybody, on either evaluator."""
    rule = deny('"team" in principal.labels && principal.labels["team"] == "web"')
    directory = minimal(tmp_path / "p", no_web=rule)
    found = between(directory, directory, engine)
    assert (found.added, found.removed, found.changed, found.changes) == ((), (), (), ())
    assert found.cases == 2 * 3  # models, and a label that is missing, "web", or another


def test_a_rule_that_denies_is_shown_for_those_whom_it_denies(tmp_path: Path) -> None:
    """A new rule for one label is told for callers with it, and for nobody else."""
    old = minimal(tmp_path / "old")
    rule = deny('"team" in principal.labels && principal.labels["team"] == "web"')
    found = between(old, minimal(tmp_path / "new", no_web=rule))
    assert (found.added, told(found)) == (("no-web",), {("tester", "lab", "team=web")})
    assert {c.after.denied for c in found.changes} == {("NO (no-web)",)}
    assert all(c.only for c in found.changes)


def test_a_larger_request_is_found_to_the_token(tmp_path: Path) -> None:
    """A change of a maximum is told with both, whatever rule it comes from."""
    size = deny("request.tokens > role.max_tokens_per_request")
    old = minimal(tmp_path / "old", size=size)
    roles = ROLES.replace("10_000", "12_345")
    new = minimal(tmp_path / "new", size=size, roles_yaml=roles)
    (change,) = between(old, new).changes
    assert (change.before.most_tokens, change.after.most_tokens) == (10_000, 12_345)


def test_a_ceiling_that_moves_is_shown(tmp_path: Path) -> None:
    """A limit's ceiling stands beside the one it had."""
    rule = limit("workspace.monthly_budget_usd", meter="cost", window="month")
    old = minimal(tmp_path / "old", money=rule)
    text = WORKSPACES.replace("monthly_budget_usd: unlimited", "monthly_budget_usd: 40")
    found = between(old, minimal(tmp_path / "new", money=rule, workspaces_yaml=text))
    changed = {(c.before.ceilings, c.after.ceilings) for c in found.changes}
    assert changed == {((("money", "unlimited"),), (("money", "$40.00"),))}


def test_a_role_that_is_new_or_gone_is_shown(tmp_path: Path) -> None:
    """Who is unknown in one of the sets is denied there, and said to be."""
    new = shipped(tmp_path / "new")
    text = (new / "roles.yaml").read_text()
    (new / "roles.yaml").write_text(text.replace("  analyst:", "  researcher:"))
    found = between(SHIPPED, new)
    roles = {role for role, *_ in told(found)}
    assert roles == {"analyst", "researcher"}
    assert {("ROLE_UNKNOWN",)} == {c.after.denied for c in found.changes if c.role == "analyst"}


def test_a_key_that_is_revoked_is_shown_for_that_key(tmp_path: Path) -> None:
    """Callers without a key, or with another, are not concerned."""
    rule = deny('key.state == "revoked"')
    keys = "keys:\n  a: {workspace: lab}\n  b: {workspace: lab}\n  c: {workspace: lab}\n"
    old = minimal(tmp_path / "old", revoked=rule, keys_yaml=keys)
    text = keys.replace("b: {workspace: lab}", "b: {workspace: lab, state: revoked}")
    found = between(old, minimal(tmp_path / "new", revoked=rule, keys_yaml=text))
    assert found.keys == ("", "(unknown)", "a", "b")  # c is like a
    assert {(c.keys, c.after.denied) for c in found.changes} == {(("b",), ("NO (revoked)",))}


def test_a_model_is_tried_at_the_endpoints_that_it_has_prices_for(tmp_path: Path) -> None:
    """What reads pages is not asked to chat."""
    prices = "models:\n  reader:\n    family: r\n    prices:\n    - effective_from: 2020-01-01\n"
    old = minimal(tmp_path / "old", r_yaml=f"{prices}      usd_per_thousand_pages: 1\n")
    new = minimal(tmp_path / "new", r_yaml=f"{prices}      usd_per_thousand_pages: 2\n",
                  no_reading=deny("request.pages > 0"))  # fmt: skip
    found = between(old, new)
    assert [c.models for c in found.changes] == [("reader (OCR)",)]
    assert found.repriced == ("reader",)


def test_all_endpoints_are_tried_where_a_rule_reads_them(tmp_path: Path) -> None:
    """A rule about one endpoint concerns no other."""
    rule = deny('request.endpoint == "FIM" && model.id == "small-1"')
    found = between(minimal(tmp_path / "old"), minimal(tmp_path / "new", no_fim=rule))
    assert [c.models for c in found.changes] == [("small-1 (FIM)",)]


def test_rules_are_listed_by_what_happened_to_them(tmp_path: Path) -> None:
    """Added, removed, changed."""
    old = minimal(tmp_path / "old", a=deny("false"), b=deny("false"))
    new = minimal(tmp_path / "new", b=deny("1 > 2"), c=deny("false"))
    found = between(old, new)
    assert (found.added, found.removed, found.changed) == (("c",), ("a",), ("b",))
    assert found.changes == ()


def test_more_cases_than_can_be_tried_are_said(monkeypatch: pytest.MonkeyPatch) -> None:
    """No answer is better than half of one."""
    monkeypatch.setattr(comparison, "CASES_AT_MOST", 10)
    with pytest.raises(TooManyCasesError, match="cases are more than 10"):
        between(SHIPPED, SHIPPED)
