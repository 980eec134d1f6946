"""Alternatives to a denied call: less output and other models, where limits alone deny it."""

import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mistral_spend.v1 import authorization_pb2 as pb
from support.authorizer_harness import AuthorizerHarness, authorizer_harness
from support.policies import deny, limit, minimal
from support.sidecar_process import RunningSidecar, chat, recorded, tester

from sidecar.authorization.alternatives import MAX_MODELS, NOTHING, Fitting, fitting
from sidecar.domain.decisions import Effect
from sidecar.policy.cel.variables import NAMES, OF_THE_MODEL, UNLIMITED

OpenHarness = Callable[..., AuthorizerHarness]

PRICES = {"small-1": 1, "large-1": 10, "tiny-1": 0.5, "mini-1": 0.5, "medium-1": 2, "odd-1": 0.7,
          "nano-1": 0.1, "pico-1": 0.2}  # fmt: skip
CATALOGUE = "models:\n  free-1: {family: free}\n" + "".join(
    f"  {name}:\n    family: {name.removesuffix('-1')}\n    aliases: [{name}-latest]\n"
    "    prices:\n      - effective_from: 2020-01-01\n"
    f"        input_usd_per_million_tokens: {usd}\n        output_usd_per_million_tokens: {usd}\n"
    for name, usd in PRICES.items()
)  # fmt: skip


def call(model: str = "small-1", **estimate: int) -> pb.AuthorizeRequest:
    """Return a call with 100 input and 1,000 output tokens, or as given."""
    sizes = {"input_tokens": 100, "max_output_tokens": 1000, **estimate}
    return chat(tester(), model=model, estimate=sizes)


def found(one: AuthorizerHarness, request: pb.AuthorizeRequest) -> Fitting:
    """Decide one call, and return what would fit."""
    decision = one.authorize(request)
    return one.run(fitting(one.authorizer, request, decision))


def allowed(one: AuthorizerHarness, request: pb.AuthorizeRequest) -> bool:
    """Return whether a dry run allows the call."""
    _, decision = one.authorizer.preview(request)
    return decision.effect is Effect.ALLOW


@given(
    tokens=st.none() | st.integers(1, 3000),
    micro_usd=st.none() | st.integers(1, 3000),
    input_tokens=st.integers(1, 2000),
    choices=st.integers(1, 3),
    requested=st.integers(0, 4000),
)
@pytest.mark.property
def test_the_output_that_fits_is_the_most_that_is_allowed(
    tokens: int | None,
    micro_usd: int | None,
    input_tokens: int,
    choices: int,
    requested: int,
) -> None:
    """Of every limit, with every choice counted: one token more is denied."""
    limits = {"daily": limit("unlimited" if tokens is None else str(tokens), meter="tokens"),
              "money": limit("unlimited" if micro_usd is None else f"{micro_usd / 10**6:.6f}",
                             meter="cost")}  # fmt: skip
    request = call(input_tokens=input_tokens, choices=choices, max_output_tokens=requested)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with authorizer_harness(minimal(folder / "p", **limits), folder / "ledger.sqlite") as one:
            result, _ = one.authorizer.preview(request)
            assert result.size is not None
            is_allowed = allowed(one, request)  # before it is decided, and takes room itself
            most = found(one, request).max_output_tokens
            if is_allowed:
                assert most == 0
                return
            assert most < result.size.max_output_tokens
            for output, expected in ((most, True), (most + 1, False)):
                request.estimate.max_output_tokens = output
                assert output == 0 or allowed(one, request) == expected


def test_what_is_spent_and_held_counts(tmp_path: Path, open_harness: OpenHarness) -> None:
    """An open hold of 600 tokens leaves 300 of 1,000 for output beside 100 of input."""
    one = open_harness(minimal(tmp_path / "p", daily=limit("1000", meter="tokens")))
    one.authorize(call(max_output_tokens=500))
    assert found(one, call()) == Fitting(300)


@pytest.mark.parametrize(
    ("more", "request_"),
    [
        ({}, call(max_output_tokens=50)),
        ({"never": deny("request.max_output_tokens > 900")}, call()),
        ({"broken": limit("9", per='principal.labels["tier"]')}, call()),
        ({"large": deny("request.max_output_tokens < 900")}, call()),
        ({"rate": limit("0")}, call()),
    ],
    ids=["an allowed call", "a rule that denies", "a limit that fails", "a rule that denies less",
         "a limit that stops everything"],
)  # fmt: skip
def test_nothing_fits_where_limits_are_not_all(
    more: dict[str, str], request_: pb.AuthorizeRequest, tmp_path: Path, open_harness: OpenHarness
) -> None:
    """Nothing is worked out for an allowed call, or where a rule denies."""
    one = open_harness(minimal(tmp_path / "p", daily=limit("500", meter="tokens"), **more))
    assert found(one, request_) == NOTHING


def test_nothing_fits_a_contradicted_principal(tmp_path: Path, open_harness: OpenHarness) -> None:
    """What the authenticated caller may do is not said in this response."""
    one = open_harness(minimal(tmp_path / "p", daily=limit("500", meter="tokens")))
    decision = one.authorize(call(), "it is another")
    assert one.run(fitting(one.authorizer, call(), decision)) == NOTHING


def test_cheaper_models_fit_a_budget_of_money(
    engine: str, tmp_path: Path, open_harness: OpenHarness
) -> None:
    """Five at most, the cheapest first; neither the model itself nor one without a price."""
    policies = minimal(tmp_path / "p", models_yaml=CATALOGUE, money=limit("0.0009", meter="cost"))
    one = open_harness(policies, engine=engine)
    assert found(one, call("small-1-latest")) == Fitting(
        800, ("nano-1", "pico-1", "mini-1", "tiny-1", "odd-1")
    )
    assert len(found(one, call("large-1")).models) == MAX_MODELS


def test_a_model_fits_only_if_rules_allow_it(tmp_path: Path, open_harness: OpenHarness) -> None:
    """Rules are evaluated for each model, and so are limits that depend on it."""
    policies = minimal(
        tmp_path / "p",
        models_yaml=CATALOGUE,
        no_nano=deny('model.family == "nano"'),
        of_each=limit('model.family == "pico" ? 0 : 1100', meter="tokens", per="model.id"),
    )
    one = open_harness(policies)
    one.authorize(call())
    assert found(one, call()).models == ("mini-1", "tiny-1", "odd-1", "medium-1", "large-1")


def test_a_limit_counted_for_each_model_leaves_room_for_others(
    tmp_path: Path, open_harness: OpenHarness
) -> None:
    """Its ceiling is the same for all, and what is left of it is not."""
    each = limit("1500", meter="tokens", per="model.id")
    one = open_harness(minimal(tmp_path / "p", models_yaml=CATALOGUE, each=each))
    one.authorize(call())
    assert found(one, call()) == Fitting(300, ("nano-1", "pico-1", "mini-1", "tiny-1", "odd-1"))


def test_a_limit_in_shadow_mode_leaves_what_fits_as_it_is(
    tmp_path: Path, open_harness: OpenHarness
) -> None:
    """It refuses no call, however little it has left."""
    shadow = limit("9", meter="tokens", extra="// mode: shadow\n")
    daily = limit("500", meter="tokens")
    one = open_harness(minimal(tmp_path / "p", a_shadow=shadow, daily=daily))
    assert found(one, call()) == Fitting(400)


def test_no_model_fits_a_limit_that_is_the_same_for_all(
    tmp_path: Path, open_harness: OpenHarness
) -> None:
    """A limit on tokens or requests takes as much of any model."""
    policies = minimal(tmp_path / "p", models_yaml=CATALOGUE, daily=limit("1000", meter="tokens"))
    assert found(open_harness(policies), call()) == Fitting(900)


@pytest.mark.parametrize("output", ["", "output_usd_per_million_tokens: 0.01\n"])
def test_a_model_for_another_endpoint_does_not_fit(
    output: str, tmp_path: Path, open_harness: OpenHarness
) -> None:
    """A request without an endpoint means that of the model it names, priced for chats or not."""
    models = CATALOGUE + (
        "  embed-1:\n    family: embed\n    endpoints: [EMBEDDINGS]\n    prices:\n"
        "      - effective_from: 2020-01-01\n        input_usd_per_million_tokens: 0.01\n"
        f"        {output}"
    )
    policies = minimal(
        tmp_path / "p",
        models_yaml=models,
        money=limit("0.00015", meter="cost"),
        endpoints=deny("size(model.endpoints) > 0 && !(request.endpoint in model.endpoints)"),
    )
    request = call()
    request.endpoint = pb.ENDPOINT_UNSPECIFIED
    assert found(open_harness(policies), request) == Fitting(50, ("nano-1",))


@pytest.mark.parametrize("stream", [False, True], ids=["Authorize", "AuthorizeStream"])
def test_a_denial_says_what_fits_now(
    stream: bool, start_sidecar: Callable[..., RunningSidecar], tmp_path: Path
) -> None:
    """L3: a replay has the same decision, and what fits by now."""
    policies = minimal(tmp_path / "p", models_yaml=CATALOGUE, money=limit("0.0009", meter="cost"))
    stub = start_sidecar(policies).stub

    def answer(request: pb.AuthorizeRequest) -> pb.AuthorizeResponse:
        (one,) = stub.AuthorizeStream(iter([request])) if stream else [stub.Authorize(request)]
        assert isinstance(one, pb.AuthorizeResponse)
        return one

    request = call()
    request.request_id = "a"
    first = answer(request)
    assert first.effect == pb.EFFECT_DENY
    assert (first.fitting_max_output_tokens, len(first.fitting_models)) == (800, 5)
    explained = stub.Explain(pb.ExplainRequest(request=request)).decision
    assert explained.fitting_models == first.fitting_models
    smaller = call(max_output_tokens=first.fitting_max_output_tokens)
    smaller.request_id = "b"
    taken = answer(smaller)
    assert (taken.effect, taken.fitting_max_output_tokens) == (pb.EFFECT_ALLOW, 0)
    again = answer(request)
    assert recorded(again) == recorded(first)
    assert (again.replayed, again.fitting_max_output_tokens) == (True, 0)
    assert not again.fitting_models


def test_a_denial_is_answered_though_the_ledger_cannot_be_read_any_more(
    tmp_path: Path, open_harness: OpenHarness
) -> None:
    """The denial is on disk; what would fit is only advice."""
    daily = limit("500", meter="tokens")
    one = open_harness(minimal(tmp_path / "p", models_yaml=CATALOGUE, daily=daily))
    decision = one.authorize(call())
    assert one.run(fitting(one.authorizer, call(), decision)) != NOTHING
    one.run(one.ledger.close())
    assert one.run(fitting(one.authorizer, call(), decision)) == NOTHING


def test_another_model_changes_only_variables_that_are_declared_so(
    tmp_path: Path, open_harness: OpenHarness
) -> None:
    """Limits that read none of these are checked once, before any model is tried."""
    policies = minimal(
        tmp_path / "p", models_yaml=CATALOGUE, x=deny("price.input_usd_per_million_tokens > 99.0"),
        cent=limit("1", meter="cost", per="model.id"), y=deny('spend["cent"].fraction > 2.0'),
    )  # fmt: skip
    one = open_harness(policies)
    one.authorize(call("large-1"))
    inputs = [one.authorizer.preview(call(name))[0].values for name in ("small-1", "large-1")]
    changed = {
        name for name in NAMES - {UNLIMITED} if len({repr(getattr(it, name)) for it in inputs}) > 1
    }
    assert changed == OF_THE_MODEL
