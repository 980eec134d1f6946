"""What changes for whom between two policy directories."""

from pathlib import Path

import pytest
from support.authorizer_harness import NOON
from support.policies import (
    ALLOW_ALL,
    MODELS,
    ROLES,
    SHIPPED,
    WORKSPACES,
    deny,
    limit,
    minimal,
    shipped,
)

from sidecar.policy import policy_set
from sidecar.policy_tools.diff.diff import PolicyDiff, compare

KEYS = "keys:\n  a: {workspace: lab}\n  b: {workspace: lab}\n"
REVOKED = KEYS.replace("b: {workspace: lab}", "b: {workspace: lab, state: revoked}")


def between(old: Path, new: Path, engine: str = "cel-cpp") -> PolicyDiff:
    """Compare two directories."""
    return compare(policy_set.load(old, engine), policy_set.load(new, engine), NOON)


def principals(found: PolicyDiff) -> set[tuple[str, ...]]:
    """Return for whom something changes."""
    return {(c.role, c.workspace, *(f"{n}={v}" for n, v in c.labels)) for c in found.changes}


def doubts(found: PolicyDiff) -> set[tuple[str, str]]:
    """Return which rules cannot be tried out in full, and what they read."""
    return {(doubt.rule, doubt.reads) for doubt in found.not_exact}


def with_team(team: str, labels: str = "{}") -> str:
    """Write the workspaces with a team and labels."""
    return f"{WORKSPACES}    team: {team}\n    labels: {labels}\n"


def test_a_set_does_not_differ_from_itself(engine: str, tmp_path: Path) -> None:
    """A rule that only says the same in other words changes nothing, on either evaluator."""
    guarded = '"team" in principal.labels && principal.labels["team"]'
    old = minimal(tmp_path / "old", no_web=deny(f'{guarded} == "web"'))
    new = minimal(tmp_path / "new", no_web=deny(f'{guarded} in ["web"]'))
    found = between(old, new, engine)
    assert (found.added, found.removed, found.changed, found.changes) == ((), (), ("no-web",), ())
    assert found.cases == 2 * 3  # models, and a label that is missing, "web", or another


def test_the_same_files_are_not_tried(tmp_path: Path) -> None:
    """However many cases there are, and whatever cannot be tried out in full."""
    directory = minimal(tmp_path / "p", no_web=deny("size(principal.labels) > 1"))
    found = between(directory, directory)
    assert (found.changes, found.not_exact, found.cases) == ((), (), 0)


def test_a_rule_is_evaluated_for_what_it_reads_and_not_for_each_case(tmp_path: Path) -> None:
    """A changed budget of one workspace changes its calls alone."""
    new = shipped(tmp_path / "new")
    text = (new / "workspaces.yaml").read_text()
    (new / "workspaces.yaml").write_text(text.replace("usd: 50\n", "usd: 51\n"))
    evaluations = [0]
    found = compare(
        policy_set.load(SHIPPED),
        policy_set.load(new),
        NOON,
        lambda done, _: evaluations.append(done),
    )
    assert {workspace for _, workspace, *_ in principals(found)} == {"dev-workspace"}
    assert max(evaluations) < found.cases / 10


def test_a_rule_that_denies_is_shown_for_those_whom_it_denies(tmp_path: Path) -> None:
    """A new rule for one label is a change for callers with it alone."""
    old = minimal(tmp_path / "old")
    rule = deny('"team" in principal.labels && principal.labels["team"] == "web"')
    found = between(old, minimal(tmp_path / "new", no_web=rule))
    assert (found.added, principals(found)) == (("no-web",), {("tester", "lab", "team=web")})
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
    roles = {role for role, *_ in principals(found)}
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


def test_a_model_is_tried_at_the_endpoints_that_its_entry_lists(tmp_path: Path) -> None:
    """A realtime model has the price of a transcription, and is for none."""
    prices = (
        "models:\n  live:\n    family: r\n    endpoints: [REALTIME]\n    prices:\n"
        "    - {effective_from: 2020-01-01, usd_per_minute_of_audio: 1}\n"
        "  voice:\n    family: r\n    prices:\n"
        "    - {effective_from: 2020-01-01, usd_per_million_characters: 1}\n"
    )
    old = minimal(tmp_path / "old", r_yaml=prices)
    new = minimal(tmp_path / "new", r_yaml=prices, no=deny('model.family == "r"'))
    assert [c.models for c in between(old, new).changes] == [("live (REALTIME)", "voice (SPEECH)")]


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


def labels_that_multiply(rules: str, labels: int) -> dict[str, str]:
    """Write rules that each read so many labels of their own."""
    return {
        f"no_{rule}": deny(" || ".join(
            f'"l{rule}{n}" in principal.labels && principal.labels["l{rule}{n}"] == "x"'
            for n in range(labels)
        ))
        for rule in rules
    }  # fmt: skip


def test_more_cases_than_memory_holds_are_decided_exactly(tmp_path: Path) -> None:
    """Labels multiply: 32 of them are 3^32 combinations, of which a changed budget reads none."""
    rules = labels_that_multiply("abcd", 8)
    money = limit("workspace.monthly_budget_usd", meter="cost", window="month")
    old = minimal(tmp_path / "old", money=money, **rules)
    text = WORKSPACES.replace("monthly_budget_usd: unlimited", "monthly_budget_usd: 40")
    found = between(old, minimal(tmp_path / "new", money=money, workspaces_yaml=text, **rules))
    (change,) = found.changes
    assert (found.cases, found.sampled, found.not_exact) == (2 * 3**32, None, ())
    assert change.every  # of two choices for each label, the other one being denied
    assert dict(change.choices) == {
        f"l{r}{n}": (None, "(any other)") for r in "abcd" for n in range(8)
    }


def test_rules_that_did_not_change_make_no_difference_one_by_one(tmp_path: Path) -> None:
    """A call that one of them denies is denied in both sets, whichever of 20 it is."""
    rules = labels_that_multiply("abcdefghijklmnopqrst", 2)
    old = minimal(tmp_path / "old", **rules)
    new = minimal(tmp_path / "new", no=deny('"l" in principal.labels'), **rules)
    found = between(old, new)
    denied = [(change.before.denied, change.after.denied) for change in found.changes]
    same = "(a rule that is the same in both)"
    assert (found.sampled, sorted(denied)) == (
        None, [((), ("NO (no)",)), ((same,), (same, "NO (no)"))]
    )  # fmt: skip


def test_a_rule_that_allows_counts_beside_one_that_denies_in_both(tmp_path: Path) -> None:
    """The reason that no rule allows a call is gone, while the call is still denied."""
    rules = {"never": deny("true")}
    old = minimal(tmp_path / "old", allow_all=ALLOW_ALL.replace("true", "false"), **rules)
    (change,) = between(old, minimal(tmp_path / "new", **rules)).changes
    same = "(a rule that is the same in both)"
    assert (change.before.denied, change.after.denied) == ((same, "NO_RULE_ALLOWS"), (same,))


def test_more_labels_than_diagrams_may_be_deep_are_tried_with_a_sample(tmp_path: Path) -> None:
    """Cases without any label are among it, for which a change is seen best."""
    rules = {
        f"no_{n}": deny(f'"a{n}" in principal.labels && "b{n}" in principal.labels')
        for n in range(101)
    }
    old = minimal(tmp_path / "old", calls=limit("5"), **rules)
    found = between(old, minimal(tmp_path / "new", calls=limit("6"), **rules))
    assert (found.sampled, {change.before.ceilings for change in found.changes}) == (
        10_000, {(("calls", "5 requests"),)}
    )  # fmt: skip


def test_a_rule_that_reads_too_much_is_tried_with_a_sample(tmp_path: Path) -> None:
    """The sample is named by its seed, and is the same for the same seed."""
    rules = labels_that_multiply("a", 14)
    old, new = minimal(tmp_path / "old"), minimal(tmp_path / "new", **rules)
    sets = [policy_set.load(each) for each in (old, new)]
    found, again, other = (compare(sets[0], sets[1], NOON, seed=seed) for seed in (1, 1, 2))
    assert (found.sampled, found.seed, found.cases) == (10_000, 1, 2 * 3**14)
    assert found == again != other
    assert {c.after.denied for c in found.changes} == {("NO (no-a)",)}
    assert not any(change.only or change.every for change in found.changes)


def test_a_rule_on_spend_hides_no_ceiling(tmp_path: Path) -> None:
    """Each limit has a budget, untouched at first, so the rule does not fail."""
    rules = {
        "month": limit("workspace.monthly_budget_usd", meter="cost", window="month"),
        "late": deny('spend["month"].fraction > 0.8'),
    }
    fifty, more = (WORKSPACES.replace("usd: unlimited", f"usd: {usd}") for usd in (50, 5000))
    old = minimal(tmp_path / "old", workspaces_yaml=fifty, **rules)
    (change,) = between(old, minimal(tmp_path / "new", workspaces_yaml=more, **rules)).changes
    assert (change.before.ceilings, change.after.ceilings) == (
        (("month", "$50.00"),), (("month", "$5,000.00"),)
    )  # fmt: skip
    assert change.spent == ("month: nothing", "month: just under 80 %", "month: 80 %")


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        ("fraction > 0.8", "fraction > 0.9", {"just over 80 %", "just under 90 %", "90 %"}),
        ("fraction >= 0.8", "fraction > 0.8", {"80 %"}),
        ("used > 3", "used > 4", {"just over 3 requests", "4 requests"}),
        ("used == 3", "fraction > 1.0", {"3 requests", "just over 100 %"}),
    ],
)
def test_what_is_spent_is_tried_on_both_sides_of_each_threshold(
    before: str, after: str, expected: set[str], tmp_path: Path
) -> None:
    """A change of a threshold is told with the spend between the two."""
    old, new = (
        minimal(tmp_path / name, calls=limit("100"), late=deny(f'spend["calls"].{condition}'))
        for name, condition in (("old", before), ("new", after))
    )
    found = between(old, new)
    assert {text for c in found.changes for text in c.spent} == {f"calls: {e}" for e in expected}
    assert found.not_exact == ()


@pytest.mark.parametrize("other", ["", "    aliases: [small-latest]\n"])
def test_an_alias_that_is_gone_or_moved_is_shown(other: str, tmp_path: Path) -> None:
    """Callers who use it get another model, at another price, or none."""
    models = MODELS.replace("    aliases: [small-latest]\n", "")
    models = models.replace("family: free\n", f"family: free\n{other}")
    found = between(minimal(tmp_path / "old"), minimal(tmp_path / "new", models_yaml=models))
    (change,) = found.changes
    assert (change.models, change.before.model) == (("small-latest",), "small-1")
    assert (change.after.model, found.repriced) == (
        ("free-1", ("small-latest",)) if other else ("", ())
    )


def test_each_name_of_a_model_is_tried_where_a_rule_reads_the_name(tmp_path: Path) -> None:
    """A rule about an alias does not concern the id."""
    new = minimal(tmp_path / "new", no_latest=deny('request.model == "small-latest"'))
    found = between(minimal(tmp_path / "old"), new)
    assert [change.models for change in found.changes] == [("small-latest",)]


@pytest.mark.parametrize("comparison", [">", ">="])
def test_a_request_may_be_as_large_as_the_contract_has_it(comparison: str, tmp_path: Path) -> None:
    """Sizes end at the largest count, not at a million."""
    size = deny(f"request.tokens {comparison} role.max_tokens_per_request")
    old, new = (
        minimal(tmp_path / most, size=size, roles_yaml=ROLES.replace("10_000", most))
        for most in ("2_000_000", "5_000_000")
    )
    (change,) = between(old, new).changes
    off = comparison == ">="
    sizes = (change.before.most_tokens, change.after.most_tokens)
    assert sizes == (2_000_000 - off, 5_000_000 - off)


@pytest.mark.parametrize(
    ("condition", "value"),
    [
        ('principal.labels["team"] == workspace.team', "web"),
        ('principal.labels["team"] == workspace.team + "-1"', "web-1"),
        ('principal.labels["team"] in [workspace.labels["prefix"]]', "w"),
    ],
)
def test_labels_are_tried_with_what_the_data_says(
    condition: str, value: str, tmp_path: Path
) -> None:
    """A label may be compared with data as well as with what stands in the rule."""
    rule = deny(f'"team" in principal.labels && {condition}')
    old = minimal(tmp_path / "old", no=rule, workspaces_yaml=with_team("x", "{prefix: y}"))
    new = minimal(tmp_path / "new", no=rule, workspaces_yaml=with_team("web", "{prefix: w}"))
    found = between(old, new)
    assert ("tester", "lab", f"team={value}") in principals(found)
    assert found.not_exact == ()


def test_a_label_whose_name_the_data_says_is_tried(tmp_path: Path) -> None:
    """The name of a label may be data, too."""
    rule = deny('workspace.team in principal.labels && principal.labels[workspace.team] == "no"')
    old = minimal(tmp_path / "old", no=rule, workspaces_yaml=with_team("x"))
    found = between(old, minimal(tmp_path / "new", no=rule, workspaces_yaml=with_team("web")))
    assert {("tester", "lab", "web=no"), ("tester", "lab", "x=no")} <= {
        (*who[:2], label) for who in principals(found) for label in who[2:]
    }
    assert found.not_exact == ()


@pytest.mark.parametrize(
    "condition",
    [
        "has(principal . labels . service)",
        '(principal.labels) . service == "x"',
        "'x' == principal\n  .labels\n  [ 'service' ]",
        'principal.labels["service"] == "x" ? true : false',
    ],
)
def test_labels_are_found_however_they_are_written(condition: str, tmp_path: Path) -> None:
    """Blanks, brackets and lines make no difference."""
    new = minimal(tmp_path / "new", no=deny(f'"service" in principal.labels && {condition}'))
    found = between(minimal(tmp_path / "old"), new)
    value = "(any other)" if condition.startswith("has") else "x"
    assert principals(found) == {("tester", "lab", f"service={value}")}
    assert {c.after.denied for c in found.changes} == {("NO (no)",)}


@pytest.mark.parametrize(
    "condition",
    [
        'key . state == "revoked"',
        '[key].exists(k, k.state == "revoked")',
        '"b" == principal.key_id',
    ],
)
def test_keys_are_found_however_they_are_written(condition: str, tmp_path: Path) -> None:
    """A key may be read by any of its spellings."""
    old = minimal(tmp_path / "old", keys_yaml=KEYS)
    new = minimal(tmp_path / "new", keys_yaml=REVOKED, no=deny(condition))
    assert {change.keys for change in between(old, new).changes} == {("b",)}


def test_a_key_that_only_a_rule_knows_is_tried(tmp_path: Path) -> None:
    """The data files need not have it."""
    new = minimal(tmp_path / "new", no=deny('key.id == "leaked"'))
    assert [c.keys for c in between(minimal(tmp_path / "old"), new).changes] == [("leaked",)]


def test_endpoints_are_found_however_they_are_written(tmp_path: Path) -> None:
    """A rule that is handed the whole request may read its endpoint."""
    rule = deny('[request].exists(r, r.endpoint == "FIM" && r.model == "small-1")')
    found = between(minimal(tmp_path / "old"), minimal(tmp_path / "new", no_fim=rule))
    assert [c.models for c in found.changes] == [("small-1 (FIM)",)]
    assert doubts(found) == {("no-fim", "request")}


@pytest.mark.parametrize(
    ("condition", "reads"),
    [
        ('"t" in principal.labels && principal.labels["t"].matches("^w")', "labels"),
        ('"t" in principal.labels && principal.labels["t"].startsWith(workspace.team)', "labels"),
        ('principal.labels.exists(name, name.startsWith("x"))', "labels"),
        ("size(principal.labels) > 3", "labels"),
        ('"t" in principal.labels && principal.labels["t"] == principal.id', "labels"),
        ('key.id.startsWith("tmp-")', "the key"),
        ('1.0 - spend["calls"].fraction < 0.2', "spend"),
        ("request.batch", "request.batch"),
        ("request.tokens == 500", "request.tokens"),
        ("now.getHours() > 18", "now"),
        ('today.endsWith("-12-25")', "today"),
    ],
)
def test_what_cannot_be_tried_out_in_full_is_said(
    condition: str, reads: str, tmp_path: Path
) -> None:
    """The rule may deny what was tried of the calls that another change is about."""
    size = deny("request.tokens > role.max_tokens_per_request")
    rules = {"calls": limit("100"), "no": deny(condition), "size": size}
    old = minimal(tmp_path / "old", **rules)
    text = ROLES.replace("10_000", "10_001")
    assert (("no", reads)) in doubts(
        between(old, minimal(tmp_path / "n", roles_yaml=text, **rules))
    )


def test_the_data_that_a_label_begins_with_is_tried(tmp_path: Path) -> None:
    """A label that meets data in another way than by being it is tried as that, at least."""
    rule = deny(
        '"t" in principal.labels && principal.labels["t"].startsWith(workspace.labels["p"])'
    )
    old = minimal(tmp_path / "old", no=rule, workspaces_yaml=with_team("x", "{p: y}"))
    new = minimal(tmp_path / "new", no=rule, workspaces_yaml=with_team("x", "{p: w}"))
    assert principals(between(old, new)) == {("tester", "lab", "t=w"), ("tester", "lab", "t=y")}


def test_a_label_that_a_limit_counts_by_is_no_doubt(tmp_path: Path) -> None:
    """Whose budget it is makes no difference to what is allowed."""
    per = '"team" in principal.labels ? principal.labels["team"] + "/x" : principal.id'
    found = between(minimal(tmp_path / "old"), minimal(tmp_path / "new", c=limit("5", per=per)))
    assert found.not_exact == ()


def test_a_limit_that_is_unlimited_is_none(tmp_path: Path) -> None:
    """A new limit without a ceiling changes nothing."""
    rule = limit("workspace.requests_per_minute", window="minute")
    found = between(minimal(tmp_path / "old"), minimal(tmp_path / "new", calls=rule))
    assert (found.added, found.changes) == (("calls",), ())
