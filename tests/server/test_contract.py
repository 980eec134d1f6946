"""The RPCs of a real sidecar, called by real clients."""

import json
import signal
import socket
import sqlite3
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message_factory import GetMessageClass
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import (
    ProtoReflectionDescriptorDatabase,
)
from mistral_spend.v1 import authorization_pb2 as pb
from support.authorizer_harness import AuthorizerHarness
from support.policies import limit, minimal
from support.sidecar_process import (
    RunningSidecar,
    chat,
    error_info,
    eventually,
    principal,
    recorded,
    stub,
    tester,
)

from sidecar.domain.clock import to_us
from sidecar.server.service import SERVICE

Start = Callable[..., RunningSidecar]


def by_rule(budgets: "list[pb.Budget]") -> dict[str, pb.Budget]:
    """Return budgets by their rules."""
    return {budget.rule: budget for budget in budgets}


def test_the_whole_job(shared_sidecar: RunningSidecar) -> None:
    """Authorize holds the worst case, Settle charges the real usage, GetBudgets shows what is left."""
    sidecar = shared_sidecar.stub
    who = principal(id="whole-job")
    held = sidecar.Authorize(chat(who, estimate={"input_bytes": 400, "max_output_tokens": 0}))
    assert held.effect == pb.EFFECT_ALLOW
    assert (held.resolved_model, held.max_output_tokens) == ("mistral-small-2603", 1600)
    # 400 × 150 + 1600 × 600 nano-USD
    assert held.held_cost_nano_usd == 1_020_000
    assert by_rule(held.budgets)["role-daily-tokens"].held == 2000
    usage = {"prompt_tokens": 90, "completion_tokens": 40, "total_tokens": 130}
    settled = sidecar.Settle(
        pb.SettleRequest(
            hold_id=held.hold_id, usage_json=json.dumps(usage), outcome=pb.OUTCOME_OK,
            response_model="mistral-small-latest",
        )
    )  # fmt: skip
    assert (settled.charged_cost_nano_usd, settled.charged_tokens) == (37_500, 130)
    left = by_rule(sidecar.GetBudgets(pb.GetBudgetsRequest(principal=who)).budgets)
    daily = left["role-daily-tokens"]
    assert (daily.spent, daily.held, daily.remaining) == (130, 0, 499_870)
    assert daily == by_rule(settled.budgets)["role-daily-tokens"]


def test_a_denied_call_carries_reasons_budgets_and_no_hold(shared_sidecar: RunningSidecar) -> None:
    """Deny is a response, not an error: with reasons and budgets, and nothing to settle."""
    answer = shared_sidecar.stub.Authorize(chat(model="mistral-large-latest"))
    assert (answer.effect, answer.hold_id) == (pb.EFFECT_DENY, "")
    assert {"role-models", "workspace-models"} == {reason.rule for reason in answer.reasons}
    assert len(answer.budgets) == 5
    assert len(answer.policy_digest) == 64
    assert answer.policy_generation == 1


def test_the_same_answer_comes_over_loopback_and_a_unix_socket(
    start_sidecar: Start, tmp_path: Path
) -> None:
    """One process listens on both at once; a repeat on the other gets the same hold."""
    path = tmp_path / "s.sock"
    sidecar = start_sidecar(None, "--listen", "127.0.0.1:0", "--listen", f"unix:{path}")
    request = chat(request_id="r1")
    answers = [stub(address).Authorize(request) for address in sidecar.addresses]
    assert len(answers) == 2
    assert recorded(answers[0]) == recorded(answers[1])


def test_both_evaluators_give_the_same_answers(start_sidecar: Start, tmp_path: Path) -> None:
    """Whichever engine runs: the same effects, reasons, budgets and holds."""
    requests = [
        chat(),
        chat(principal(role="analyst", workspace="ml-workspace"), model="mistral-large-latest"),
        chat(principal(role="senior"), estimate={"max_output_tokens": 5000}),
        chat(principal(workspace="prod-workspace", labels={"service": "ci"}), model="codestral-2508"),
        chat(principal(role="ghost")),
        chat(principal(key_id="ml-team-key")),
    ]  # fmt: skip
    seen = []
    for engine in ("cel-cpp", "cel-python"):
        sidecar = start_sidecar(None, "--engine", engine, ledger=tmp_path / f"{engine}.sqlite")
        answers = [sidecar.stub.Authorize(request) for request in requests]
        seen.append(
            [
                (
                    a.effect,
                    [(r.rule, r.code, r.message, r.http_status) for r in a.reasons],
                    [(b.rule, b.scope, b.ceiling, b.held, b.remaining) for b in a.budgets],
                    a.held_cost_nano_usd,
                )
                for a in answers
            ]
        )
    assert seen[0] == seen[1]


def test_a_repeat_gets_the_same_answer_and_other_content_is_refused(
    shared_sidecar: RunningSidecar,
) -> None:
    """L3: over the wire, byte for byte; an id that is reused is ALREADY_EXISTS."""
    sidecar, who = shared_sidecar.stub, principal(id="repeater", labels={"a": "1", "b": "2"})
    first = sidecar.Authorize(chat(who, request_id="repeat-1"))
    again = sidecar.Authorize(chat(who, request_id="repeat-1"))
    assert (first.replayed, again.replayed) == (False, True)
    assert recorded(first) == recorded(again)
    changes: list[dict[str, Any]] = [
        {"model": "codestral-latest"},
        {"estimate": {"max_output_tokens": 101}},
        {"hold_ttl_seconds": 5},
        {"who": principal(id="repeater", labels={"a": "1", "b": "3"})},
    ]
    for change in changes:
        with pytest.raises(grpc.RpcError) as caught:
            sidecar.Authorize(chat(**{"who": who, "request_id": "repeat-1", **change}))
        assert grpc.StatusCode.ALREADY_EXISTS is caught.value.code()
        assert error_info(caught.value).reason == "REQUEST_ID_REUSED"


def test_release_gives_everything_back(shared_sidecar: RunningSidecar) -> None:
    """A call that was never sent costs nothing and counts nowhere."""
    sidecar, who = shared_sidecar.stub, principal(id="releaser")
    hold = sidecar.Authorize(chat(who)).hold_id
    released = sidecar.Release(pb.ReleaseRequest(hold_id=hold, reason="the user left"))
    assert (released.charged_cost_nano_usd, released.charged_tokens) == (0, 0)
    daily = by_rule(released.budgets)["role-daily-tokens"]
    assert (daily.spent, daily.held) == (0, 0)


@pytest.mark.parametrize("rpc", ["Settle", "Release"])
def test_an_unknown_hold_is_not_found(rpc: str, shared_sidecar: RunningSidecar) -> None:
    """NOT_FOUND, with the id of the error for programs, and not the id that was sent."""
    request = {"Settle": pb.SettleRequest, "Release": pb.ReleaseRequest}[rpc](hold_id="hold_zzz")
    with pytest.raises(grpc.RpcError) as caught:
        getattr(shared_sidecar.stub, rpc)(request)
    assert grpc.StatusCode.NOT_FOUND is caught.value.code()
    assert error_info(caught.value).reason == "HOLD_UNKNOWN"
    assert "hold_zzz" not in (caught.value.details() or "")


USES = [
    # what was held, what came back, and the nano-USD that are charged
    ("no usage at all", {}, None, 100 * 150 + 100 * 600),
    ("an empty usage", {}, "{}", 100 * 150 + 100 * 600),
    ("output alone is missing", {}, '{"prompt_tokens": 10}', 10 * 150 + 100 * 600),
    ("cached input", {}, '{"prompt_tokens": 50, "completion_tokens": 10, "prompt_tokens_details":'
     ' {"cached_tokens": 40}}', 10 * 150 + 40 * 15 + 10 * 600),
    ("batch", {"batch": True}, '{"prompt_tokens": 50, "completion_tokens": 10}',
     (50 * 150 + 10 * 600) // 2),
    ("priority", {"service_tier": "priority"}, '{"prompt_tokens": 40, "completion_tokens": 10}',
     (40 * 150 + 10 * 600) * 7 // 4),
    ("priority asked, default given", {"service_tier": "priority"},
     '{"prompt_tokens": 40, "completion_tokens": 10, "service_tier": "default"}',
     40 * 150 + 10 * 600),
    ("a tier without a price", {"service_tier": "priority"},
     '{"prompt_tokens": 40, "completion_tokens": 10, "service_tier": "warp"}',
     (40 * 150 + 10 * 600) * 7 // 4),
    ("eu endpoint", {"region": "eu"}, '{"prompt_tokens": 40, "completion_tokens": 10}',
     (40 * 150 + 10 * 600) * 11 // 10),
    ("more than was held", {}, '{"prompt_tokens": 500, "completion_tokens": 900}',
     500 * 150 + 900 * 600),
]  # fmt: skip


@pytest.mark.parametrize(
    ("estimate", "usage", "nano"), [u[1:] for u in USES], ids=[u[0] for u in USES]
)
def test_settle_charges_what_was_used(
    estimate: dict[str, object], usage: str | None, nano: int, shared_sidecar: RunningSidecar
) -> None:
    """Cached input, batch, tier and region at their prices; omitted counts as held."""
    sidecar = shared_sidecar.stub
    held = sidecar.Authorize(chat(principal(id="spender", role="admin"), estimate=estimate))
    assert held.effect == pb.EFFECT_ALLOW
    settled = sidecar.Settle(pb.SettleRequest(hold_id=held.hold_id, usage_json=usage))
    assert nano == settled.charged_cost_nano_usd
    assert settled.overrun == (nano > held.held_cost_nano_usd)


@pytest.mark.parametrize(
    ("endpoint", "model", "estimate", "usage", "held", "charged"),
    [
        ("OCR", "mistral-ocr-latest", {"pages": 5}, '{"pages_processed": 3}', 20_000_000, 12_000_000),
        ("TRANSCRIPTION", "voxtral-mini-2602", {"audio_seconds": 120},
         '{"prompt_audio_seconds": 60, "prompt_tokens": 4}', 6_000_000, 3_000_000),
        ("EMBEDDINGS", "mistral-embed", {"input_tokens": 1000},
         '{"prompt_tokens": 900, "total_tokens": 0}', 100_000, 90_000),
        ("MODERATION", "mistral-moderation-2603", {"input_tokens": 10}, "{}", 0, 0),
        ("FIM", "codestral-latest", {"input_tokens": 10, "max_output_tokens": 10},
         '{"prompt_tokens": 5, "completion_tokens": 5}', 12_000, 6_000),
    ],
)  # fmt: skip
def test_every_endpoint_is_held_and_charged_in_its_own_unit(
    endpoint: str,
    model: str,
    estimate: dict[str, Any],
    usage: str,
    held: int,
    charged: int,
    shared_sidecar: RunningSidecar,
) -> None:
    """Pages for OCR, minutes for transcription, tokens for the others."""
    request = pb.AuthorizeRequest(
        principal=principal(role="admin", workspace="ml-workspace"),
        model=model,
        endpoint=f"ENDPOINT_{endpoint}",
        estimate=pb.Estimate(**estimate),
    )
    answer = shared_sidecar.stub.Authorize(request)
    assert (pb.EFFECT_ALLOW, held) == (answer.effect, answer.held_cost_nano_usd)
    settle = pb.SettleRequest(hold_id=answer.hold_id, usage_json=usage)
    assert charged == shared_sidecar.stub.Settle(settle).charged_cost_nano_usd


def test_a_transcriptions_tokens_are_no_overrun(shared_sidecar: RunningSidecar) -> None:
    """Minutes are held and charged; the tokens that Mistral reports beside them count nowhere."""
    request = pb.AuthorizeRequest(
        principal=principal(role="admin", workspace="ml-workspace"),
        model="voxtral-mini-2602",
        endpoint=pb.ENDPOINT_TRANSCRIPTION,
        estimate=pb.Estimate(audio_seconds=60),
    )
    hold_id = shared_sidecar.stub.Authorize(request).hold_id
    usage = '{"prompt_tokens": 4, "completion_tokens": 9, "prompt_audio_seconds": 30}'
    settled = shared_sidecar.stub.Settle(pb.SettleRequest(hold_id=hold_id, usage_json=usage))
    assert (settled.charged_tokens, settled.overrun) == (0, False)
    assert settled.charged_cost_nano_usd == 1_500_000


@pytest.mark.parametrize(
    ("response_model", "nano"),
    [
        ("mistral-large-2512", 500),
        ("codestral-2508", 300),
        ("a model of tomorrow", 500),
        ("", 500),
        ("voxtral-mini-2602", 500),  # has no price for tokens
        ("mistral-embed-2312", 500),  # has none for output
    ],
)
def test_a_call_is_charged_at_the_price_of_the_model_that_answered(
    response_model: str, nano: int, shared_sidecar: RunningSidecar
) -> None:
    """An alias may have moved: the response's model counts where its price is known."""
    who = principal(role="admin", workspace="ml-workspace")
    held = shared_sidecar.stub.Authorize(chat(who, model="mistral-large-latest"))
    settle = pb.SettleRequest(
        hold_id=held.hold_id,
        usage=pb.Usage(input_tokens=1, output_tokens=0),
        response_model=response_model,
    )
    assert nano == shared_sidecar.stub.Settle(settle).charged_cost_nano_usd


def test_a_dry_run_answers_and_leaves_nothing(shared_sidecar: RunningSidecar) -> None:
    """A dry run has no hold, and its request id stays free."""
    sidecar, who = shared_sidecar.stub, principal(id="dry")
    dry = sidecar.Authorize(chat(who, request_id="dry-1", dry_run=True))
    assert (dry.effect, dry.hold_id, dry.max_output_tokens) == (pb.EFFECT_ALLOW, "", 100)
    assert by_rule(dry.budgets)["role-daily-tokens"].held == 0
    assert sidecar.Authorize(chat(who, request_id="dry-1")).hold_id


def test_get_budgets_says_which_names_are_unknown(shared_sidecar: RunningSidecar) -> None:
    """Without a budget there is a reason, not an empty list alone."""
    who = principal(role="ghost")
    answer = shared_sidecar.stub.GetBudgets(pb.GetBudgetsRequest(principal=who, model="gpt"))
    assert [reason.code for reason in answer.reasons] == ["ROLE_UNKNOWN", "MODEL_UNKNOWN"]
    assert list(answer.budgets) == []


def test_explain_says_why_and_what_would_help(shared_sidecar: RunningSidecar) -> None:
    """Over the wire: the decision, each rule's parts, and ways to an Allow."""
    request = chat(principal(role="analyst"), model="mistral-large-latest")
    answer = shared_sidecar.stub.Explain(pb.ExplainRequest(request=request))
    assert (answer.decision.effect, answer.decision.hold_id) == (pb.EFFECT_DENY, "")
    rules = {rule.rule: rule for rule in answer.rules}
    assert (rules["role-models"].value, rules["role-request-size"].value) == ("true", "false")
    assert "request.tokens = 200" in {
        f"{p.text} = {p.value}" for p in rules["role-request-size"].parts
    }
    assert list(answer.suggestions) == ["call mistral-small-2603 instead"]


def test_unlimited_is_a_flag_and_not_a_large_number(shared_sidecar: RunningSidecar) -> None:
    """An unlimited budget has no ceiling and no remaining."""
    answer = shared_sidecar.stub.GetBudgets(pb.GetBudgetsRequest(principal=principal(role="admin")))
    daily = by_rule(answer.budgets)["role-daily-tokens"]
    assert (daily.unlimited, daily.ceiling, daily.remaining) == (True, 0, 0)


def test_a_stream_answers_each_request_by_its_id(shared_sidecar: RunningSidecar) -> None:
    """Three hundred pipelined requests get their three hundred answers."""
    requests = [
        chat(principal(id="streamer", role="admin", workspace="ml-workspace"),
             request_id=f"stream-{n}", dry_run=n % 2 == 1)
        for n in range(300)
    ]  # fmt: skip
    answers = list(shared_sidecar.stub.AuthorizeStream(iter(requests)))
    assert {r.request_id for r in requests} == {a.request_id for a in answers}
    assert len(answers) == 300


def test_a_malformed_request_ends_its_stream_and_is_named(shared_sidecar: RunningSidecar) -> None:
    """The stream ends with INVALID_ARGUMENT that says which request, and which field."""
    bad = [chat(request_id="fine-1"), chat(request_id="bad-1", model="")]
    with pytest.raises(grpc.RpcError) as caught:
        list(shared_sidecar.stub.AuthorizeStream(iter(bad)))
    assert grpc.StatusCode.INVALID_ARGUMENT is caught.value.code()
    assert caught.value.details() == "request_id 'bad-1': model is missing"


@pytest.mark.parametrize("request_id", ["", "x" * 20_000, "a\nb\x1b[31m"])
def test_an_invalid_request_id_is_not_repeated(
    request_id: str, shared_sidecar: RunningSidecar
) -> None:
    """The error names the request by its number in the stream."""
    with pytest.raises(grpc.RpcError) as caught:
        list(shared_sidecar.stub.AuthorizeStream(iter([chat(request_id=request_id)])))
    assert "request 1 of the stream: request_id " in (caught.value.details() or "")
    assert error_info(caught.value).metadata["field"] == "request_id"


def test_a_stream_that_fails_still_answers_requests_with_holds(
    start_sidecar: Start, tmp_path: Path
) -> None:
    """L3: a bad request ends its stream, but the client gets every hold that was made."""
    sidecar = start_sidecar(minimal(tmp_path / "p", daily=limit("1000000", meter="tokens")))
    good = [chat(tester(), model="small-1", request_id=f"s{n}") for n in range(40)]
    answers: list[pb.AuthorizeResponse] = []
    with pytest.raises(grpc.RpcError) as caught:
        answers.extend(sidecar.stub.AuthorizeStream(iter([*good[:20], chat(model=""), *good[20:]])))
    for answer in sidecar.stub.AuthorizeStream(iter(good)):  # as the contract says: ask again
        answers.append(answer)  # noqa: PERF402
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert {answer.request_id for answer in answers} == {request.request_id for request in good}
    (budget,) = sidecar.stub.GetBudgets(pb.GetBudgetsRequest(principal=tester())).budgets
    assert budget.held == 40 * 200


def test_an_open_stream_does_not_delay_the_stop(start_sidecar: Start) -> None:
    """A client that keeps an idle stream open is disconnected at once."""
    sidecar = start_sidecar(None, "--grace-seconds", "300")
    more = threading.Event()

    def requests() -> Iterator[pb.AuthorizeRequest]:
        yield chat(request_id="first")
        more.wait(60)

    stream = sidecar.stub.AuthorizeStream(requests())
    assert next(stream).hold_id
    try:
        assert sidecar.stop() == 0
        assert list(stream) == []
    finally:
        more.set()


def test_a_health_watch_gets_not_serving_and_does_not_delay_the_stop(start_sidecar: Start) -> None:
    """A client that watches health hears NOT_SERVING, and lets the sidecar go."""
    sidecar = start_sidecar(None, "--grace-seconds", "300")
    with grpc.insecure_channel(sidecar.addresses[0]) as channel:
        recorder = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest())
        assert next(recorder).status == health_pb2.HealthCheckResponse.SERVING
        assert sidecar.stop() == 0
        assert next(recorder).status == health_pb2.HealthCheckResponse.NOT_SERVING


def test_a_unix_socket_in_use_is_not_taken_over(start_sidecar: Start, tmp_path: Path) -> None:
    """Two sidecars behind one address would be two ledgers."""
    address = f"unix:{tmp_path / 's.sock'}"
    first = start_sidecar(None, "--listen", address)
    with pytest.raises(AssertionError, match="another process listens there"):
        start_sidecar(None, "--listen", address, ledger=tmp_path / "second.sqlite")
    assert first.stub.Authorize(chat()).hold_id


def test_a_socket_that_a_killed_sidecar_left_is_used_again(
    start_sidecar: Start, tmp_path: Path
) -> None:
    """After kill -9 the file is still there, and not in use."""
    first = start_sidecar(None, "--listen", f"unix:{tmp_path / 's.sock'}")
    first.stop(signal.SIGKILL)
    assert (tmp_path / "s.sock").exists()
    assert first.restart().stub.Authorize(chat()).hold_id


def test_a_released_hold_keeps_the_reason(start_sidecar: Start) -> None:
    """The record says why the call was never sent."""
    sidecar = start_sidecar()
    hold = sidecar.stub.Authorize(chat()).hold_id
    sidecar.stub.Release(pb.ReleaseRequest(hold_id=hold, reason="the user left"))
    connection = sqlite3.connect(sidecar.ledger)
    found = connection.execute("SELECT state, outcome FROM holds").fetchall()
    connection.close()
    assert found == [("released", "the user left")]


def test_health_uses_the_standard_service(shared_sidecar: RunningSidecar) -> None:
    """grpc.health.v1 says SERVING for the server and for the service."""
    with grpc.insecure_channel(shared_sidecar.addresses[0]) as channel:
        health = health_pb2_grpc.HealthStub(channel)
        for name in ("", SERVICE):
            answer = health.Check(health_pb2.HealthCheckRequest(service=name))
            assert answer.status == health_pb2.HealthCheckResponse.SERVING


def test_reflection_is_off_by_default(shared_sidecar: RunningSidecar, start_sidecar: Start) -> None:
    """With --reflection a client learns the contract from the server itself, and can call it."""
    with grpc.insecure_channel(shared_sidecar.addresses[0]) as channel:
        with pytest.raises(grpc.RpcError) as caught:
            ProtoReflectionDescriptorDatabase(channel).get_services()
        assert grpc.StatusCode.UNIMPLEMENTED is caught.value.code()
    with grpc.insecure_channel(start_sidecar(None, "--reflection").addresses[0]) as channel:
        database = ProtoReflectionDescriptorDatabase(channel)
        assert SERVICE in database.get_services()
        file = database.FindFileContainingSymbol(SERVICE)
        methods = {method.name for method in file.service[0].method}
        assert {"Authorize", "AuthorizeStream", "Settle", "Release", "GetBudgets"} <= methods
        pool = DescriptorPool(database)
        kinds = {name: _message(pool, name) for name in ("Principal", "GetBudgetsRequest")}
        who = kinds["Principal"](id="ada", role="developer", workspace="dev-workspace")
        call: Any = channel.unary_unary(
            f"/{SERVICE}/GetBudgets",
            request_serializer=lambda request: request.SerializeToString(),
            response_deserializer=_message(pool, "GetBudgetsResponse").FromString,
        )
        assert len(call(kinds["GetBudgetsRequest"](principal=who)).budgets) == 5


def _message(pool: DescriptorPool, name: str) -> Any:
    """Return a message class made only from the reflection service."""
    return GetMessageClass(pool.FindMessageTypeByName(f"sidecar.v1.{name}"))


def test_a_port_that_is_taken_is_not_shared(start_sidecar: Start) -> None:
    """A second server on the same port would get half of the calls."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(AssertionError, match="is the port in use"):
            start_sidecar(None, "--listen", f"127.0.0.1:{port}")


def test_a_hold_that_is_not_settled_in_time_is_charged(
    start_sidecar: Start, tmp_path: Path
) -> None:
    """L5: the sidecar expires holds by itself, and a late Settle corrects the charge."""
    sidecar = start_sidecar(minimal(tmp_path / "p", daily=limit("1000", meter="tokens"))).stub
    held = sidecar.Authorize(chat(tester(), model="small-1", hold_ttl_seconds=1))

    def daily() -> pb.Budget:
        answer: pb.GetBudgetsResponse = sidecar.GetBudgets(pb.GetBudgetsRequest(principal=tester()))
        return answer.budgets[0]

    assert (daily().spent, daily().held) == (0, 200)
    eventually(lambda: daily().held == 0)
    assert daily().spent == 200
    usage = pb.Usage(input_tokens=7, output_tokens=3)
    sidecar.Settle(pb.SettleRequest(hold_id=held.hold_id, usage=usage))
    assert (daily().spent, daily().held) == (10, 0)


def test_l6_windows_follow_the_time_zone_that_serve_was_given(start_sidecar: Start) -> None:
    """L6: in Kolkata a day begins at half past six in the evening, UTC."""
    sidecar = start_sidecar(None, "--time-zone", "Asia/Kolkata")
    daily = by_rule(sidecar.stub.Authorize(chat()).budgets)["role-daily-tokens"]
    assert daily.window_start.seconds % 86_400 == 18 * 3600 + 30 * 60


def test_l9_after_a_restart_time_continues_from_the_last_decision(
    start_sidecar: Start, tmp_path: Path
) -> None:
    """L9: with the clock set back by a day, the price of that day is still in force."""
    today = datetime.now(UTC).replace(microsecond=0)
    models = f"""
models:
  small-1:
    family: small
    prices:
      - {{effective_from: 2020-01-01, input_usd_per_million_tokens: 1, output_usd_per_million_tokens: 1}}
      - {{effective_from: {(today + timedelta(hours=12)).isoformat()}, input_usd_per_million_tokens: 3,
         output_usd_per_million_tokens: 3}}
"""
    policies = minimal(tmp_path / "p", models_yaml=models)
    ahead = AuthorizerHarness(policies, tmp_path / "ledger.sqlite")
    ahead.now_us = to_us(today + timedelta(days=1))
    first = ahead.authorize(chat(tester(), model="small-1"))
    ahead.close()
    second = start_sidecar(policies).stub.Authorize(chat(tester(), model="small-1"))
    assert (first.held_cost_nano_usd, second.held_cost_nano_usd) == (600_000, 600_000)
