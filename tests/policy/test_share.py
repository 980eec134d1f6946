"""Decisions, budgets and explanations of a sidecar with a share of every ceiling."""

from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mistral_spend.v1 import authorization_pb2 as pb
from support.authorizer_harness import AuthorizerHarness, authorizer_harness, codes
from support.commands import sidecar
from support.policies import deny, limit, minimal
from support.sidecar_process import RunningSidecar, chat, tester

from sidecar.domain.share import Share
from sidecar.policy import policy_set
from sidecar.policy.static_values import limits_without_room

OpenHarness = Callable[..., AuthorizerHarness]


def admitted(harness: AuthorizerHarness, calls: int) -> int:
    """Return how many of these calls are allowed."""
    request = chat(tester(), model="small-1")
    return sum(not codes(harness.authorize(request)) for _ in range(calls))


@pytest.mark.property
@given(st.integers(0, 12), st.integers(1, 5))
def test_sidecars_together_admit_no_more_than_the_ceiling(
    tmp_path_factory: pytest.TempPathFactory, ceiling: int, sidecars: int
) -> None:
    """L1: N sidecars with 1/N each, each with a ledger of its own, never go over it."""
    folder = tmp_path_factory.mktemp("pods")
    directory = minimal(folder / "p", daily=limit(str(ceiling)))
    total = 0
    for number in range(sidecars):
        share = Share(1, sidecars)
        with authorizer_harness(
            directory, folder / f"{number}.sqlite", "cel-python", share=share
        ) as one:
            total += admitted(one, ceiling + 1)
    assert ceiling // sidecars * sidecars == total <= ceiling


@pytest.mark.parametrize(
    ("meter", "body", "ceiling"),
    [
        ("requests", "10", 3),
        ("tokens", "1001", 333),
        ("cost", "0.1", 33_333_333),
        ("requests", 'request.endpoint == "CHAT" ? 10 : 20', 3),
        ("requests", "workspace.requests_per_minute", None),
    ],
)
def test_every_meter_is_divided(
    meter: str,
    body: str,
    ceiling: int | None,
    open_harness: OpenHarness,
    tmp_path: Path,
    engine: str,
) -> None:
    """From the data, from the call, as an integer or in dollars; unlimited stays so."""
    directory = minimal(tmp_path / "p", one=limit(body, meter=meter))
    one = open_harness(directory, engine=engine, share=Share(1, 3))
    budgets, _ = one.authorizer.budgets(tester(), "small-1")
    assert [ceiling] == [budget.ceiling for budget in budgets]


def test_rules_see_the_share_as_the_ceiling(
    open_harness: OpenHarness, tmp_path: Path, engine: str
) -> None:
    """`spend[…].fraction` and `.ceiling` are of the part: past its half, one of two is denied."""
    directory = minimal(
        tmp_path / "p",
        daily=limit("8"),
        late=deny('spend["daily"].fraction >= 0.5 && spend["daily"].ceiling == 4'),
    )
    assert admitted(open_harness(directory, engine=engine, share=Share(2, 4)), 8) == 2
    assert admitted(open_harness(directory, engine=engine), 8) == 8


def test_the_share_of_a_small_ceiling_may_be_0_and_denies(
    open_harness: OpenHarness, tmp_path: Path
) -> None:
    """Rounding up would allow one call in each pod, more than the ceiling."""
    directory = minimal(tmp_path / "p", daily=limit("2"))
    decision = open_harness(directory, share=Share(1, 3)).authorize(chat(tester(), model="small-1"))
    assert codes(decision) == ["LARGER_THAN_BUDGET", "TOO_MUCH"]
    assert [budget.ceiling for budget in decision.budgets] == [0]


@pytest.mark.parametrize(
    ("body", "extra", "named"),
    [
        ("2", "", ["one"]),
        ("3", "", []),
        ("0", "", []),  # a ceiling of 0 is meant, or another warning's
        ("unlimited", "", []),
        ("workspace.requests_per_minute", "", []),
        ("role.max_tokens_per_request < 5 ? 1000 : 2", "", ["one"]),
        ("request.tokens > 5 ? 2 : 1", "", []),  # nothing is known before a call
        ("2", "// mode: shadow\n", []),
    ],
)
def test_a_rule_whose_share_is_0_is_named(
    body: str, extra: str, named: list[str], tmp_path: Path
) -> None:
    """Where the data files decide the ceiling, and only there."""
    directory = minimal(tmp_path / "p", one=limit(body, extra=extra))
    policy = policy_set.load(directory, share=Share(1, 3))
    assert named == [rule.id for rule, _ in limits_without_room(policy)]


def test_a_start_warns_of_limits_whose_share_is_0(
    start_sidecar: Callable[..., RunningSidecar], tmp_path: Path
) -> None:
    """The log names the rule and its ceiling, and GetBudgets, Explain and Authorize agree."""
    directory = minimal(tmp_path / "p", few=limit("2"), many=limit("10", window="month"))
    running = start_sidecar(directory, env={"SIDECAR_SHARE": "1/3"})
    request = chat(tester(), model="small-1", request_id="one")
    budgets = running.stub.GetBudgets(pb.GetBudgetsRequest(principal=tester())).budgets
    explained = running.stub.Explain(pb.ExplainRequest(request=request))
    denied = running.stub.Authorize(request)
    for found in (budgets, explained.decision.budgets, denied.budgets):
        assert {budget.rule: budget.ceiling for budget in found} == {"few": 0, "many": 3}
    running.stop()
    assert "ceilings are divided between sidecars: this one has 1/3" in running.log
    assert "limit few: 1/3 of its ceiling 2 is 0, so every call is denied" in running.log
    assert "limit many" not in running.log


def test_check_and_explain_take_the_share_and_fixtures_do_not(tmp_path: Path) -> None:
    """`check` warns at the rule's line, `explain` denies; `test` runs what the files say."""
    directory = minimal(tmp_path / "p", daily=limit("2"))
    (directory / "all_test.yaml").write_text(
        "tests:\n- name: one call\n  steps:\n  - authorize:\n"
        "      principal: {id: a, role: tester, workspace: lab}\n      model: small-1\n"
        "      estimate: {input_tokens: 1, max_output_tokens: 1}\n    expect: {effect: allow}\n"
    )
    request = tmp_path / "request.json"
    request.write_text(
        '{"principal": {"id": "a", "role": "tester", "workspace": "lab"}, "model": "small-1",'
        ' "estimate": {"inputTokens": 1, "maxOutputTokens": 1}}'
    )
    assert sidecar("check", directory, "--strict")[0] == 0
    code, out, _ = sidecar("check", directory, "--strict", "--share", "1/3")
    assert code == 1
    assert "1/3 of the ceiling 2 is 0, so every call is denied" in out
    assert "daily.cel:10:1" in out
    assert sidecar("explain", directory, "--request", request)[0] == 0
    code, out, _ = sidecar("explain", directory, "--request", request, "--share", "1/3")
    assert (code, "TOO_MUCH" in out) == (1, True)
    code, out, err = sidecar("test", directory, SIDECAR_SHARE="1/3")
    assert code == 0, out + err


@pytest.mark.parametrize("command", ["serve", "check", "explain"])
def test_an_invalid_share_is_wrong_usage(command: str, tmp_path: Path) -> None:
    """Exit 2 before anything is opened, and no file is created."""
    directory = minimal(tmp_path / "p")
    ledger = tmp_path / "ledger.sqlite"
    place = ("--policies", directory, "--ledger", ledger) if command == "serve" else (directory,)
    code, _, err = sidecar(command, *place, "--share", "2/1")
    assert code == 2
    assert "K of N parts, as in 1/5" in " ".join(err.split())
    assert not ledger.exists()
