"""What rules can read beside the request: the cost of the call, the price in force, and lists."""

from collections.abc import Callable
from pathlib import Path

import pytest
from support.authorizer_harness import AuthorizerHarness, codes
from support.policies import deny, limit, minimal
from support.sidecar_process import chat, tester

from sidecar.policy import policy_set
from sidecar.policy.files.problems import PolicyError

OpenHarness = Callable[..., AuthorizerHarness]
LISTS = "lists:\n  oncall: [ada, bob]\n  holidays: [2026-12-25]\n"


def problems(directory: Path) -> str:
    """Return the problems of a policy directory."""
    with pytest.raises(PolicyError) as caught:
        policy_set.load(directory)
    return str(caught.value)


@pytest.mark.parametrize(("ceiling", "expected"), [("0.0000001", ["NO"]), ("1.0", [])])
def test_a_rule_denies_a_call_that_may_cost_too_much(
    ceiling: str, expected: list[str], engine: str, tmp_path: Path, open_harness: OpenHarness
) -> None:
    """`request.max_cost_usd` is the worst case, which is held."""
    rule = deny(f"request.max_cost_usd > {ceiling}", message="may cost {request.max_cost_usd}")
    harness = open_harness(minimal(tmp_path / "p", dear=rule), engine=engine)
    decision = harness.authorize(chat(tester(), model="small-1"))
    assert codes(decision) == expected


@pytest.mark.parametrize(
    "body", ["request.max_cost_usd > 1.0", "[request].exists(r, r.max_cost_usd > 1.0)",
             "price.output_usd_per_million_tokens > 5.0"]
)  # fmt: skip
def test_a_call_without_a_price_does_not_pass_as_free_where_a_rule_reads_it(
    body: str, tmp_path: Path, open_harness: OpenHarness
) -> None:
    """It is MODEL_NOT_PRICED; a rule in shadow mode denies nothing."""
    harness = open_harness(minimal(tmp_path / "p", dear=deny(body)))
    assert codes(harness.authorize(chat(tester(), model="free-1"))) == ["MODEL_NOT_PRICED"]
    harness = open_harness(minimal(tmp_path / "q", dear=deny(body, mode="shadow")))
    assert codes(harness.authorize(chat(tester(), model="free-1"))) == []


def test_a_rule_reads_the_price_that_is_in_force(
    engine: str, tmp_path: Path, open_harness: OpenHarness
) -> None:
    """In USD, as the data files have it; also where results are cached by entry."""
    rule = deny("price.input_usd_per_million_tokens != 1.0 || price.usd_per_thousand_pages > 0.0")
    harness = open_harness(minimal(tmp_path / "p", price=rule), engine=engine)
    assert codes(harness.authorize(chat(tester(), model="small-1"))) == []


@pytest.mark.parametrize(("who", "expected"), [("ada", []), ("eve", ["NO"])])
def test_a_rule_reads_people_from_a_list(
    who: str, expected: list[str], engine: str, tmp_path: Path, open_harness: OpenHarness
) -> None:
    """By its name, in brackets or after a dot; a day in a list is its text."""
    rule = deny('!(principal.id in lists["oncall"]) || !("2026-12-25" in lists.holidays)')
    harness = open_harness(minimal(tmp_path / "p", people=rule, lists_yaml=LISTS), engine=engine)
    assert codes(harness.authorize(chat(tester(id=who), model="small-1"))) == expected


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ('principal.id in lists["oncal"]', "x.cel:8:17: no list is named 'oncal'"),
        ("principal.id in lists.oncal", "did you mean 'oncall'?"),
        ("principal.id in lists[role.name]", "a list's name is a literal"),
        ('"oncall" in lists', "one list is read, by its name"),
        ("lists.all(name, principal.id in lists[name])", "a list's name is a literal"),
    ],
)
def test_a_list_that_does_not_exist_is_a_problem_when_rules_load(
    body: str, expected: str, tmp_path: Path
) -> None:
    """At run time it would deny each call."""
    assert expected in problems(minimal(tmp_path / "p", x=deny(body), lists_yaml=LISTS))


def test_a_list_counts_in_the_steps_of_a_rule(tmp_path: Path) -> None:
    """A rule that looks for each of many texts in a long list does not load."""
    long = "lists:\n  long: [" + ", ".join(f"person-{n}" for n in range(2000)) + "]\n"
    body = 'lists["long"].all(one, one in lists["long"])'
    assert "steps" in problems(minimal(tmp_path / "p", x=deny(body), lists_yaml=long))
    once = deny('!(principal.id in lists["long"])')
    assert policy_set.load(minimal(tmp_path / "q", x=once, lists_yaml=long)).rules


def test_a_list_in_two_files_is_a_problem(tmp_path: Path) -> None:
    """As other entries are."""
    directory = minimal(tmp_path / "p", a_yaml=LISTS, b_yaml=LISTS, lim=limit("5"))
    assert "'oncall' is already in another file" in problems(directory)
