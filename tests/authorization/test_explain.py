"""Explanations: why, part by part, and what would let a denied call through."""

from collections.abc import Callable
from pathlib import Path

import pytest
from mistral_spend.v1 import authorization_pb2 as pb
from support.authorizer_harness import AuthorizerHarness, codes
from support.policies import deny, limit, minimal
from support.sidecar_process import chat, principal, tester

from sidecar.authorization.explain import Explainer, Explanation
from sidecar.contract import responses
from sidecar.domain.decisions import Effect

OpenHarness = Callable[..., AuthorizerHarness]


def explain(harness: AuthorizerHarness, request: pb.AuthorizeRequest) -> Explanation:
    """Explain one call."""
    return harness.run(Explainer(harness.authorizer).explain(request))


WAYS = [
    ("another model", chat(principal(role="analyst"), model="mistral-large-latest"),
     ["call mistral-small-2603 instead"]),
    ("one of several models", chat(model="mistral-large-latest"),
     ["call codestral-2508 or mistral-small-2603 instead"]),
    ("less output, or another role", chat(principal(role="analyst"),
                                          estimate={"max_output_tokens": 900}),
     ["ask for at most 400 output tokens (max_output_tokens)",
      "have the role admin, developer or senior"]),
    ("two changes at once, which are not suggested", chat(
        principal(role="analyst"), model="mistral-large-latest",
        estimate={"max_output_tokens": 9000}), []),
    ("nothing, when it is allowed", chat(), []),
]  # fmt: skip


@pytest.mark.parametrize(("request_", "expected"), [w[1:] for w in WAYS], ids=[w[0] for w in WAYS])
def test_a_denied_call_lists_each_single_change_that_would_allow_it(
    request_: pb.AuthorizeRequest, expected: list[str], engine: str, open_harness: OpenHarness
) -> None:
    """The smallest change of model, size or role; the same on both engines."""
    assert explain(open_harness(engine=engine), request_).suggestions == expected


def test_the_size_that_is_suggested_is_allowed_and_one_more_is_not(
    open_harness: OpenHarness,
) -> None:
    """One token more is denied."""
    harness = open_harness()
    for tokens, expected in ((400, []), (401, ["REQUEST_TOO_LARGE"])):
        request = chat(principal(role="analyst"), estimate={"max_output_tokens": tokens})
        assert codes(harness.authorize(request)) == expected


def test_a_call_over_a_limit_says_how_long_to_wait(
    tmp_path: Path, open_harness: OpenHarness
) -> None:
    """After that time, the same call is allowed."""
    harness = open_harness(minimal(tmp_path / "p", rate=limit("1", window="minute")))
    request = chat(tester(), model="small-1")
    harness.authorize(request)
    harness.wait(10.5)
    (way,) = explain(harness, request).suggestions
    assert way == "wait 50 s and ask with a new request_id"
    harness.wait(50)
    assert harness.authorize(request).effect is Effect.ALLOW


def test_a_wait_that_would_not_help_is_not_suggested(
    tmp_path: Path, open_harness: OpenHarness
) -> None:
    """Rules that read `now` are evaluated at that time, too; nothing else changes."""
    night = deny("now >= timestamp('2026-11-10T12:00:40Z')")
    harness = open_harness(minimal(tmp_path / "p", rate=limit("1", window="minute"), night=night))
    request = chat(tester(), model="small-1")
    harness.authorize(request)
    found = explain(harness, request)
    assert (codes(found.decision), found.suggestions) == (["TOO_MUCH"], [])
    assert found.decision.retry_after_us > 0
    harness.wait(1)
    assert explain(harness, request).decision.retry_after_us == 59_000_000


def test_a_wait_for_the_end_of_a_hold_is_suggested(
    tmp_path: Path, open_harness: OpenHarness
) -> None:
    """By that time it has expired, and its place is free."""
    harness = open_harness(minimal(tmp_path / "p", one=limit("1", window="concurrent")))
    request = chat(tester(), model="small-1", hold_ttl_seconds=30)
    harness.authorize(request)
    assert explain(harness, request).suggestions == ["wait 30 s and ask with a new request_id"]
    harness.wait(30)
    assert harness.authorize(request).effect is Effect.ALLOW


def test_a_call_larger_than_its_budget_says_how_small_it_has_to_be(
    tmp_path: Path, open_harness: OpenHarness
) -> None:
    """No wait is suggested, since none helps."""
    harness = open_harness(minimal(tmp_path / "p", daily=limit("100", meter="tokens")))
    request = chat(tester(), model="small-1", estimate={"input_tokens": 30})
    request.estimate.max_output_tokens = 120
    found = explain(harness, request)
    assert codes(found.decision) == ["LARGER_THAN_BUDGET", "TOO_MUCH"]
    assert found.suggestions == ["ask for at most 70 output tokens (max_output_tokens)"]


@pytest.mark.parametrize("maximum", ["500", "unlimited"])
def test_less_output_is_suggested_also_where_the_app_left_it_out(
    maximum: str, tmp_path: Path, open_harness: OpenHarness
) -> None:
    """Less than the role's maximum, which fills it in; where it has none, a bound that fits."""
    directory = minimal(tmp_path / "p", daily=limit("300", meter="tokens"))
    roles = directory / "roles.yaml"
    roles.write_text(
        roles.read_text().replace(
            "max_tokens_per_request: 10_000", f"max_tokens_per_request: {maximum}"
        )
    )
    harness = open_harness(directory)
    harness.authorize(chat(tester(), model="small-1"))
    request = chat(tester(), model="small-1", estimate={"input_tokens": 30, "max_output_tokens": 0})
    assert explain(harness, request).suggestions == [
        "ask for at most 70 output tokens (max_output_tokens)"
    ]


def test_every_rule_is_shown_with_the_value_of_each_part(
    engine: str, tmp_path: Path, open_harness: OpenHarness
) -> None:
    """Parts have their text, their place, and their value for this call."""
    directory = minimal(tmp_path / "p", big=deny("request.tokens > 150 && request.batch"))
    found = explain(open_harness(directory, engine=engine), chat(tester(), model="small-1"))
    parts = {rule.id: parts for rule, parts in found.rules}
    assert set(parts) == {"allow-all", "big"}
    assert [(str(p), p.part.line, p.part.column) for p in parts["big"]] == [
        ("request.tokens > 150 && request.batch = false", 8, 1),
        ("request.tokens > 150 = true", 8, 1),
        ("request.tokens = 200", 8, 1),
        ("request.batch = false", 8, 25),
    ]


def test_each_limit_is_shown_with_its_arithmetic(tmp_path: Path, open_harness: OpenHarness) -> None:
    """What is spent, held and requested, and the ceiling; also where a rule denies."""
    directory = minimal(
        tmp_path / "p",
        daily=limit("250", meter="tokens"),
        money=limit("unlimited", meter="cost"),
        never=deny("request.batch"),
    )
    harness = open_harness(directory)
    request = chat(tester(), model="small-1", estimate={"input_tokens": 40, "choices": 2,
                                                        "max_output_tokens": 60})  # fmt: skip
    harness.authorize(request)
    request.estimate.batch = True
    answer = responses.explain_response(explain(harness, request))
    assert [r.code for r in answer.decision.reasons] == ["NO"]
    assert answer.worst_case == (
        "40 input + 2 x 60 output = 160 tokens; at most $0.00016 at the price small-1@2020-01-01"
    )
    assert [(one.rule, one.fits, one.arithmetic) for one in answer.limits] == [
        ("daily", False, "0 tokens spent + 160 tokens held + 160 tokens for this call"
                         " = 320 tokens, above 250 tokens"),
        ("money", True, "$0.00 spent + $0.00016 held + $0.00016 for this call"
                        " = $0.00032; unlimited"),
    ]  # fmt: skip


def test_the_worst_case_names_every_unit(open_harness: OpenHarness) -> None:
    """Pages with annotations, characters, audio, and each tool that is billed by the call."""
    request = chat(
        principal(role="admin", workspace="ml-workspace"),
        model="mistral-medium-latest",
        estimate={"tool_calls": {"web_search": 3, "code_interpreter": 1}},
    )
    assert responses.explain_response(explain(open_harness(), request)).worst_case == (
        "100 input + 100 output = 200 tokens; 1 call of code_interpreter; 3 calls of web_search;"
        " at most $0.1209 at the price mistral-medium-3-5@2026-08-21"
    )
    request.model, request.endpoint = "mistral-ocr-4", pb.ENDPOINT_OCR
    request.estimate.CopyFrom(pb.Estimate(pages=1, annotated_pages=2))
    shown = responses.explain_response(explain(open_harness(), request)).worst_case
    assert "; 1 page; 2 annotated pages; at most $0.014 at" in shown


def test_another_model_is_suggested_for_the_endpoint_that_was_meant(
    open_harness: OpenHarness,
) -> None:
    """Without the endpoint, an embedding model would be suggested for a chat."""
    request = chat(principal(role="developer"), model="mistral-large-latest")
    request.endpoint = pb.ENDPOINT_UNSPECIFIED
    found = [way for way in explain(open_harness(), request).suggestions if way.startswith("call ")]
    assert found
    assert "embed" not in found[0]


def test_has_is_a_condition_like_others(tmp_path: Path, open_harness: OpenHarness) -> None:
    """It is traced as a whole."""
    rule = deny('has(principal.labels.team) && principal.labels.team == "x"')
    found = explain(open_harness(minimal(tmp_path / "p", no=rule)), chat(tester(), model="small-1"))
    parts = {rule.id: parts for rule, parts in found.rules}["no"]
    assert [str(part) for part in parts[1:]] == [
        "has(principal.labels.team) = false",
        'principal.labels.team == "x" = not needed',
        "principal.labels.team = not needed",
    ]
    assert parts[1].part.is_condition


def test_a_rule_of_one_word_has_its_value(tmp_path: Path, open_harness: OpenHarness) -> None:
    """A literal and its comment."""
    harness = open_harness(
        minimal(tmp_path / "p", daily=limit("\n// first\n25 // at most\n// last"))
    )
    answer = responses.explain_response(explain(harness, chat(tester(), model="small-1")))
    assert {rule.rule: rule.value for rule in answer.rules} == {"allow-all": "true", "daily": "25"}


def test_an_explanation_holds_and_records_nothing(
    tmp_path: Path, open_harness: OpenHarness
) -> None:
    """After any number of explanations, nothing is spent."""
    harness = open_harness(minimal(tmp_path / "p", daily=limit("1000", meter="tokens")))
    before = harness.authorizer.budgets(tester(), "small-1")
    for tokens in (100, 5000):
        explain(harness, chat(tester(), model="small-1", estimate={"max_output_tokens": tokens}))
    assert harness.authorizer.budgets(tester(), "small-1") == before


def test_unknown_names_are_explained_without_rules(open_harness: OpenHarness) -> None:
    """No rule was evaluated, so none is shown; another role may help."""
    found = explain(open_harness(), chat(principal(role="ghost")))
    assert codes(found.decision) == ["ROLE_UNKNOWN"]
    assert found.rules == []
    assert found.suggestions == ["have the role admin, analyst, developer or senior"]
