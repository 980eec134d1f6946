"""Evaluation of rules on both engines: default deny, all reasons, errors, shadow rules."""

from collections.abc import Callable
from pathlib import Path

import pytest
from support.authorizer_harness import AuthorizerHarness, codes
from support.policies import WORKSPACES, deny, limit, minimal
from support.sidecar_process import chat, tester

from sidecar.domain.decisions import Effect, Meter
from sidecar.policy.cel.engine import EvaluationError
from sidecar.policy.evaluation import ceiling_of

OpenHarness = Callable[..., AuthorizerHarness]

ALLOW = "// METADATA\n// effect: allow\n// owner: a@b\n"
MISSING_LABEL = 'principal.labels["clearance"] == "low"'


def test_without_an_allow_rule_that_holds_everything_is_denied(
    engine: str, tmp_path: Path, open_harness: OpenHarness
) -> None:
    """Default deny: no allow rule true means Deny, 403."""
    directory = minimal(tmp_path / "p", allow_all=ALLOW + "role.name == 'no-such-role'\n")
    decision = open_harness(directory, engine=engine).authorize(chat(tester(), model="small-1"))
    assert codes(decision) == ["NO_RULE_ALLOWS"]
    assert decision.reasons[0].http_status == 403


def test_an_allow_rule_that_fails_does_not_allow(
    engine: str, tmp_path: Path, open_harness: OpenHarness
) -> None:
    """An error in an allow rule never widens access."""
    directory = minimal(tmp_path / "p", allow_all=ALLOW + MISSING_LABEL + "\n")
    decision = open_harness(directory, engine=engine).authorize(chat(tester(), model="small-1"))
    assert codes(decision) == ["NO_RULE_ALLOWS"]


def test_a_deny_rule_that_fails_denies_and_names_itself(
    engine: str, tmp_path: Path, open_harness: OpenHarness
) -> None:
    """An error in a deny rule denies; its text shows nothing of the request."""
    directory = minimal(tmp_path / "p", no_low=deny(MISSING_LABEL))
    harness = open_harness(directory, engine=engine)
    decision = harness.authorize(chat(tester(labels={"secret": "hunter2"}), model="small-1"))
    assert codes(decision) == ["POLICY_ERROR"]
    assert (decision.reasons[0].rule, decision.reasons[0].http_status) == ("no-low", 500)
    assert "hunter2" not in str(decision)
    assert (
        codes(harness.authorize(chat(tester(labels={"clearance": "high"}), model="small-1"))) == []
    )


@pytest.mark.parametrize(
    "body", [MISSING_LABEL + " ? 1 : 2", "9223372036854775807 + request.choices"]
)
def test_a_limit_that_fails_denies(
    body: str, engine: str, tmp_path: Path, open_harness: OpenHarness
) -> None:
    """A ceiling that fails does not count as unlimited."""
    directory = minimal(tmp_path / "p", tight=limit(body))
    decision = open_harness(directory, engine=engine).authorize(chat(tester(), model="small-1"))
    assert codes(decision) == ["POLICY_ERROR"]


def test_a_scope_that_fails_denies(engine: str, tmp_path: Path, open_harness: OpenHarness) -> None:
    """A limit whose scope fails is not skipped."""
    directory = minimal(tmp_path / "p", tight=limit("5", per='principal.labels["team"]'))
    decision = open_harness(directory, engine=engine).authorize(chat(tester(), model="small-1"))
    assert codes(decision) == ["POLICY_ERROR"]


def test_every_reason_is_given_not_only_the_first(
    engine: str, tmp_path: Path, open_harness: OpenHarness
) -> None:
    """All deny rules that hold are reported, in the order of their names."""
    directory = minimal(
        tmp_path / "p", b=deny("true", message="{1 + 1}"), a=deny("true"), c=deny("false")
    )
    decision = open_harness(directory, engine=engine).authorize(chat(tester(), model="small-1"))
    assert [(r.rule, r.message) for r in decision.reasons] == [("a", "no"), ("b", "2")]


def test_names_that_are_unknown_are_denied_all_at_once(
    engine: str, tmp_path: Path, open_harness: OpenHarness
) -> None:
    """Unknown role, workspace and model each have a reason of their own."""
    who = tester(role="ghost", workspace="nowhere")
    harness = open_harness(minimal(tmp_path / "p"), engine=engine)
    decision = harness.authorize(chat(who, model="gpt"))
    assert codes(decision) == ["ROLE_UNKNOWN", "WORKSPACE_UNKNOWN", "MODEL_UNKNOWN"]


@pytest.mark.parametrize(
    ("meter", "mode", "expected"),
    [("cost", "enforce", ["MODEL_NOT_PRICED"]), ("cost", "shadow", []), ("tokens", "enforce", [])],
)
def test_a_model_without_a_price_is_denied_where_a_limit_counts_cost(
    meter: str, mode: str, expected: list[str], tmp_path: Path, open_harness: OpenHarness
) -> None:
    """What cannot be priced cannot be held; without a limit on cost it need not be."""
    rule = limit("1000", meter=meter, extra=f"// mode: {mode}\n")
    harness = open_harness(minimal(tmp_path / "p", money=rule))
    assert expected == codes(harness.authorize(chat(tester(), model="free-1")))


def test_a_message_that_fails_falls_back_to_its_text(
    engine: str, tmp_path: Path, open_harness: OpenHarness
) -> None:
    """A message never blocks a decision, and never hides it."""
    rule = deny("true", message="{9223372036854775807 + request.choices} is too much")
    harness = open_harness(minimal(tmp_path / "p", bad=rule), engine=engine)
    decision = harness.authorize(chat(tester(), model="small-1"))
    assert [r.message for r in decision.reasons] == [
        "{9223372036854775807 + request.choices} is too much"
    ]


def test_messages_write_values_alike_on_both_evaluators(
    engine: str, tmp_path: Path, open_harness: OpenHarness
) -> None:
    """A text, an int, a double and a bool read the same, whichever engine runs."""
    message = "{role.name} {request.tokens} {workspace.monthly_budget_usd} {1.5} {true}"
    harness = open_harness(
        minimal(tmp_path / "p", bad=deny("true", message=message)), engine=engine
    )
    decision = harness.authorize(chat(tester(), model="small-1"))
    assert decision.reasons[0].message == "tester 200 unlimited 1.5 true"


@pytest.mark.parametrize("rule", [deny("true", mode="shadow"), deny(MISSING_LABEL, mode="shadow")])
def test_a_rule_in_shadow_is_recorded_and_changes_nothing(
    rule: str, engine: str, tmp_path: Path, open_harness: OpenHarness
) -> None:
    """mode: shadow evaluates and records a deny rule without effect."""
    harness = open_harness(minimal(tmp_path / "p", trial=rule), engine=engine)
    decision = harness.authorize(chat(tester(), model="small-1"))
    assert Effect.ALLOW is decision.effect
    assert [reason.rule for reason in decision.shadow_reasons] == ["trial"]


def test_a_limit_in_shadow_counts_and_never_refuses(
    engine: str, tmp_path: Path, open_harness: OpenHarness
) -> None:
    """A shadow limit logs what it would have denied, and denies nothing."""
    rule = limit("1", extra="// mode: shadow\n")
    harness = open_harness(minimal(tmp_path / "p", trial=rule), engine=engine)
    first, second = (harness.authorize(chat(tester(), model="small-1")) for _ in range(2))
    assert (codes(first), codes(second)) == ([], [])
    assert tuple([r.code for r in d.shadow_reasons] for d in (first, second)) == ([], ["TOO_MUCH"])
    assert second.budgets == ()


def test_an_allow_rule_in_shadow_does_not_allow(tmp_path: Path, open_harness: OpenHarness) -> None:
    """Trying out an allow rule opens nothing, and records what it would have opened."""
    directory = minimal(tmp_path / "p", allow_all=ALLOW + "// mode: shadow\ntrue\n")
    decision = open_harness(directory).authorize(chat(tester(), model="small-1"))
    assert [(r.code, r.rule) for r in decision.shadow_reasons] == [("WOULD_ALLOW", "allow-all")]
    assert codes(decision) == ["NO_RULE_ALLOWS"]


@pytest.mark.parametrize(
    ("body", "ceiling"),
    [
        ('role.name == "tester" ? unlimited : 5', None),
        ('role.name == "tester" ? unlimited : 5.0', None),
        ('role.name == "other" ? unlimited : 5', 5),
        ("unlimited", None),
        ("workspace.requests_per_minute == unlimited ? 7 : 8", 7),
        ("workspace.monthly_budget_usd == unlimited ? 7 : 8", 7),
        ("workspace.requests_per_minute", None),
    ],
)
def test_unlimited_can_be_compared_with_ints_and_doubles(
    body: str, ceiling: int | None, tmp_path: Path, open_harness: OpenHarness
) -> None:
    """`unlimited` takes the type of the branch beside it, and equals unlimited data."""
    harness = open_harness(minimal(tmp_path / "p", free=limit(body)))
    decision = harness.authorize(chat(tester(), model="small-1"))
    assert [ceiling] == [budget.ceiling for budget in decision.budgets]


@pytest.mark.parametrize(
    ("value", "meter", "expected"),
    [
        (10, Meter.REQUESTS, 10),
        (2.9, Meter.REQUESTS, 2),
        (0.1, Meter.COST, 100_000_000),
        (50, Meter.COST, 50_000_000_000),
        (1e-10, Meter.COST, 0),
        (-5, Meter.TOKENS, 0),
        (-0.5, Meter.COST, 0),
        (float("-inf"), Meter.COST, 0),
        (float("inf"), Meter.COST, None),
        (2**63 - 1, Meter.TOKENS, None),
        (10**9, Meter.COST, None),
        (10**18 - 1, Meter.TOKENS, 10**18 - 1),
    ],
)
def test_a_ceiling_becomes_whole_units_rounded_down(
    value: float, meter: Meter, expected: int | None
) -> None:
    """L7: a ceiling is an integer of the ledger's units; a fraction never widens it."""
    assert expected == ceiling_of(value, meter)


@pytest.mark.parametrize("value", [float("nan"), True, "5"])
def test_a_ceiling_that_is_not_a_number_denies(value: float | str) -> None:
    """It fails, and so denies."""
    with pytest.raises(EvaluationError):
        ceiling_of(value, Meter.COST)


def test_a_rule_can_read_what_a_limit_has_used(
    engine: str, tmp_path: Path, open_harness: OpenHarness
) -> None:
    """Past half of a budget, a deny rule that reads `spend` lets only small calls through."""
    directory = minimal(
        tmp_path / "p",
        daily=limit("1000", meter="tokens"),
        big_when_half_used=deny('spend["daily"].fraction >= 0.5 && request.tokens > 100'),
    )
    harness = open_harness(directory, engine=engine)
    big = chat(tester(), model="small-1", estimate={"input_tokens": 200, "max_output_tokens": 100})
    small = chat(tester(), model="small-1", estimate={"input_tokens": 10, "max_output_tokens": 9})
    answers = [codes(harness.authorize(request)) for request in (big, big, big, small)]
    assert answers == [[], [], ["NO"], []]


def test_time_can_be_read(engine: str, tmp_path: Path, open_harness: OpenHarness) -> None:
    """`now` is the moment of the decision, in any zone."""
    rule = deny('now.getHours("Europe/Paris") >= 18', message="office hours are over")
    harness = open_harness(minimal(tmp_path / "p", hours=rule), engine=engine)
    assert codes(harness.authorize(chat(tester(), model="small-1"))) == []  # 13:00 in Paris
    harness.wait(5 * 3600)
    assert codes(harness.authorize(chat(tester(), model="small-1"))) == ["NO"]


FAILS = "9223372036854775807 + size(principal.labels) > 0"  # with a label

FAILING = [
    ("a deny rule", deny(FAILS), ["POLICY_ERROR"]),
    ("a rule in shadow", deny(FAILS, mode="shadow"), []),
    ("a ceiling", limit(f"{FAILS} ? 1 : 2"), ["POLICY_ERROR"]),
    ("a scope", limit("5", per=f'{FAILS} ? "a" : "b"'), ["POLICY_ERROR"]),
    ("a limit in shadow", limit(f"{FAILS} ? 1 : 2", extra="// mode: shadow\n"), []),
]


@pytest.mark.parametrize(
    ("rule", "expected"), [f[1:] for f in FAILING], ids=[f[0] for f in FAILING]
)
def test_a_rule_that_fails_denies_unless_it_is_in_shadow_mode(
    rule: str, expected: list[str], engine: str, tmp_path: Path, open_harness: OpenHarness
) -> None:
    """Whichever of its expressions fails."""
    harness = open_harness(minimal(tmp_path / "p", fails=rule), engine=engine)
    assert codes(harness.authorize(chat(tester(labels={"a": "b"}), model="small-1"))) == expected


def test_a_key_decides_for_its_own_calls_alone(
    engine: str, tmp_path: Path, open_harness: OpenHarness
) -> None:
    """The cached residual of one key never applies to another, known or unknown."""
    keys = "keys:\n  good: {workspace: lab}\n  bad: {workspace: lab, state: revoked}\n"
    directory = minimal(tmp_path / "p", keys_yaml=keys, revoked=deny('key.state == "revoked"'))
    harness = open_harness(directory, engine=engine)
    for _ in range(2):
        answers = [
            codes(harness.authorize(chat(tester(key_id=key), model="small-1")))
            for key in ("good", "bad", "", "made-up", "bad", "good")
        ]
        assert answers == [[], ["NO"], [], [], ["NO"], []]


def test_a_call_with_unbounded_output_is_denied(tmp_path: Path, open_harness: OpenHarness) -> None:
    """A role without a maximum, and an app that sends none: the hold would have no bound."""
    roles = (
        "roles:\n  tester:\n    allowed_models: ['*']\n    max_tokens_per_request: .inf\n"
        "    daily_token_budget: .inf\n"
    )
    harness = open_harness(minimal(tmp_path / "p", roles_yaml=roles))
    request = chat(tester(), model="small-1", estimate={"max_output_tokens": 0})
    assert codes(harness.authorize(request)) == ["OUTPUT_UNBOUNDED"]


@pytest.mark.parametrize(
    ("budget", "expression", "expected"),
    [
        ("12345.67", "workspace.monthly_budget_usd", "12345.67"),
        ("12345.670", "workspace.monthly_budget_usd * 0.1", "1234.567"),
        ("0.000000001", "workspace.monthly_budget_usd", "0.000000001"),
        ("999999999.99", "workspace.monthly_budget_usd", "999999999.99"),
        ("0.1", "workspace.monthly_budget_usd + 0.2", "0.3"),
        ("50", "workspace.monthly_budget_usd", "50"),
        ("unlimited", "workspace.monthly_budget_usd", "unlimited"),
        ("1", "workspace.requests_per_minute", "unlimited"),
        ("1", "role.max_tokens_per_request", "10000"),
    ],
)
def test_a_number_in_a_message_has_all_its_digits(
    engine: str,
    budget: str,
    expression: str,
    expected: str,
    tmp_path: Path,
    open_harness: OpenHarness,
) -> None:
    """A message shows what the file says: no digit is cut, and no limit is a word."""
    data = WORKSPACES.replace("monthly_budget_usd: unlimited", f"monthly_budget_usd: {budget}")
    rule = deny("true", message=f"it is {{{expression}}}")
    directory = minimal(tmp_path / "p", workspaces_yaml=data, x=rule)
    harness = open_harness(directory, engine=engine)
    decision = harness.authorize(chat(tester(), model="small-1"))
    assert [reason.message for reason in decision.reasons] == [f"it is {expected}"]
