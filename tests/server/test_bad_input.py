"""Malformed requests: INVALID_ARGUMENT, the field, and nothing changed."""

import sqlite3
from collections.abc import Callable
from typing import Any

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration
from mistral_spend.v1 import authorization_pb2 as pb
from support.odd_texts import CONTROLS, UNUSUAL
from support.sidecar_process import RunningSidecar, chat, error_info, principal

INT64_MAX, INT64_MIN = 2**63 - 1, -(2**63)
LONG = "x" * 257
SECRET = "sk-hunter2"  # noqa: S105 - it must never come back


def estimate(**fields: Any) -> pb.AuthorizeRequest:
    """A chat request with this estimate."""
    return chat(estimate=fields)


def changed(change: Callable[[pb.AuthorizeRequest], object]) -> pb.AuthorizeRequest:
    """A good chat request, changed."""
    request = chat()
    change(request)
    return request


AUTHORIZE = [
    ("principal", changed(lambda r: r.ClearField("principal"))),
    ("principal.id", chat(principal(id=""))),
    ("principal.id", chat(principal(id="   "))),
    ("principal.id", chat(principal(id=LONG))),
    ("principal.id", chat(principal(id="é" * 129))),
    ("principal.id", chat(principal(id="a\nb"))),
    ("principal.id", chat(principal(id="a\x00b"))),
    ("principal.id", chat(principal(id="\u202eevil"))),
    ("principal.id", chat(principal(id="ada\u3164"))),
    ("principal.id", chat(principal(id="ada\ufe0f"))),
    ("principal.key_id", chat(principal(key_id="k\U000e0100"))),
    ("principal.role", chat(principal(role=""))),
    ("principal.workspace", chat(principal(workspace=""))),
    ("principal.key_id", chat(principal(key_id=LONG))),
    ("principal.labels", chat(principal(labels={f"k{n}": "v" for n in range(65)}))),
    ("principal.labels", chat(principal(labels={"k" * 65: "v"}))),
    ("principal.labels", chat(principal(labels={"token": SECRET * 60}))),
    ("principal.labels", chat(principal(labels={"": "v"}))),
    ("principal.labels", chat(principal(labels={"token": f"{SECRET}\n"}))),
    ("request_id", chat(request_id=LONG)),
    ("model", chat(model="")),
    ("model", chat(model=LONG)),
    ("endpoint", changed(lambda r: setattr(r, "endpoint", 99))),
    ("endpoint", changed(lambda r: setattr(r, "endpoint", -1))),
    ("estimate.input_tokens", changed(lambda r: r.estimate.ClearField("input_tokens"))),
    ("estimate.input_tokens", changed(lambda r: r.ClearField("estimate"))),
    ("estimate.input_tokens", estimate(input_tokens=0)),
    ("estimate.input_tokens", estimate(input_bytes=0)),
    ("estimate.input_tokens", estimate(input_tokens=-1)),
    ("estimate.input_tokens", estimate(input_tokens=INT64_MAX)),
    ("estimate.input_tokens", estimate(input_tokens=INT64_MIN)),
    ("estimate.input_bytes", estimate(input_bytes=-1)),
    ("estimate.input_bytes", estimate(input_bytes=INT64_MAX)),
    ("estimate.max_output_tokens", estimate(max_output_tokens=-1)),
    ("estimate.max_output_tokens", estimate(max_output_tokens=INT64_MAX)),
    ("estimate.choices", estimate(choices=-1)),
    ("estimate.choices", estimate(choices=INT64_MAX)),
    ("estimate.pages", estimate(pages=INT64_MIN)),
    ("estimate.audio_seconds", estimate(audio_seconds=INT64_MAX)),
    ("estimate.service_tier", estimate(service_tier=LONG)),
    ("estimate.region", estimate(region="e\x1bu")),
    ("estimate.pages", chat(endpoint=pb.ENDPOINT_OCR)),
    ("estimate.audio_seconds", chat(endpoint=pb.ENDPOINT_TRANSCRIPTION)),
    ("estimate.audio_seconds", chat(endpoint=pb.ENDPOINT_REALTIME)),
    ("estimate.characters", chat(endpoint=pb.ENDPOINT_SPEECH)),
    ("estimate.characters", estimate(characters=-1)),
    ("estimate.annotated_pages", estimate(annotated_pages=INT64_MAX)),
    ("estimate.tool_calls", estimate(tool_calls={"web_search": -1})),
    ("estimate.tool_calls", estimate(tool_calls={"web_search": INT64_MAX})),
    ("estimate.tool_calls", estimate(tool_calls={"": 1})),
    ("estimate.tool_calls", estimate(tool_calls={"x" * 65: 1})),
    ("estimate.tool_calls", estimate(tool_calls={"é" * 33: 1})),
    ("estimate.tool_calls", estimate(tool_calls={"a\nb": 1})),
    ("estimate.tool_calls", estimate(tool_calls={f"tool-{n}": 1 for n in range(33)})),
    ("hold_ttl", chat(hold_ttl=Duration(seconds=0))),
    ("hold_ttl", chat(hold_ttl=Duration(seconds=-5))),
    ("hold_ttl", chat(hold_ttl=Duration(seconds=86_401))),
    ("hold_ttl", chat(hold_ttl=Duration(seconds=86_400, nanos=1))),
    ("hold_ttl", chat(hold_ttl=Duration(seconds=5, nanos=-1))),
    ("hold_ttl", chat(hold_ttl=Duration(seconds=INT64_MAX))),
]

SETTLE = [
    ("hold_id", pb.SettleRequest()),
    ("hold_id", pb.SettleRequest(hold_id=LONG)),
    ("outcome", pb.SettleRequest(hold_id="h", outcome=77)),  # type: ignore[arg-type]
    ("response_model", pb.SettleRequest(hold_id="h", response_model=LONG)),
    ("usage_json", pb.SettleRequest(hold_id="h", usage_json=f"not json {SECRET}")),
    ("usage_json", pb.SettleRequest(hold_id="h", usage_json="")),
    ("usage_json", pb.SettleRequest(hold_id="h", usage_json='{"prompt_tokens": -1}')),
    ("usage_json", pb.SettleRequest(hold_id="h", usage_json='{"prompt_tokens": 1e99}')),
    ("usage_json", pb.SettleRequest(hold_id="h", usage_json="[" * 70_000)),
    ("usage.input_tokens", pb.SettleRequest(hold_id="h", usage=pb.Usage(input_tokens=-1))),
    ("usage.output_tokens", pb.SettleRequest(hold_id="h", usage=pb.Usage(output_tokens=INT64_MAX))),
    ("usage.pages", pb.SettleRequest(hold_id="h", usage=pb.Usage(pages=INT64_MIN))),
    ("usage.characters", pb.SettleRequest(hold_id="h", usage=pb.Usage(characters=-1))),
    ("usage.annotated_pages", pb.SettleRequest(hold_id="h", usage=pb.Usage(annotated_pages=-1))),
    ("usage.tool_calls", pb.SettleRequest(hold_id="h", usage=pb.Usage(tool_calls={"t": -1}))),
    ("usage.tool_calls", pb.SettleRequest(hold_id="h", usage=pb.Usage(tool_calls={"": 1}))),
    ("usage.service_tier", pb.SettleRequest(hold_id="h", usage=pb.Usage(service_tier=LONG))),
]

OTHERS = [
    ("Release", "hold_id", pb.ReleaseRequest()),
    ("Release", "reason", pb.ReleaseRequest(hold_id="h", reason=LONG)),
    ("Explain", "principal", pb.ExplainRequest()),
    ("Explain", "model", pb.ExplainRequest(request=chat(model=""))),
    ("GetBudgets", "principal", pb.GetBudgetsRequest()),
    ("GetBudgets", "principal.role", pb.GetBudgetsRequest(principal=principal(role=""))),
    ("GetBudgets", "model", pb.GetBudgetsRequest(principal=principal(), model="a\tb")),
]

ALL = [
    *(("Authorize", field, request) for field, request in AUTHORIZE),
    *(("Settle", field, request) for field, request in SETTLE),
    *OTHERS,
]


def decisions(sidecar: RunningSidecar) -> int:
    """Return the number of recorded decisions."""
    connection = sqlite3.connect(f"file:{sidecar.ledger}?mode=ro", uri=True)
    (count,) = connection.execute("SELECT count(*) FROM all_decisions").fetchone()
    connection.close()
    return int(count)


@pytest.mark.parametrize(("rpc", "field", "request_"), ALL)
def test_a_malformed_field_is_named_and_changes_nothing(
    rpc: str, field: str, request_: Any, shared_sidecar: RunningSidecar
) -> None:
    """INVALID_ARGUMENT with the field's path; no value, label or secret in any text."""
    before = decisions(shared_sidecar)
    with pytest.raises(grpc.RpcError) as caught:
        getattr(shared_sidecar.stub, rpc)(request_)
    assert grpc.StatusCode.INVALID_ARGUMENT is caught.value.code()
    info = error_info(caught.value)
    assert ("INVALID_FIELD", "sidecar.v1", field) == (
        info.reason, info.domain, info.metadata["field"]
    )  # fmt: skip
    assert SECRET not in str(caught.value)
    assert before == decisions(shared_sidecar)


@pytest.mark.parametrize("text", (CONTROLS | UNUSUAL).values(), ids=ascii)
def test_an_odd_text_is_refused_or_is_another_name(
    text: str, shared_sidecar: RunningSidecar
) -> None:
    """In each field of a principal: it is never taken for the name that it looks like."""
    for request in (
        chat(principal(id=text)),
        chat(principal(role=text)),
        chat(principal(labels={"team": text})),
        chat(principal(labels={text: "x"})),
    ):
        if not text.isprintable():
            with pytest.raises(grpc.RpcError) as caught:
                shared_sidecar.stub.Authorize(request)
            assert grpc.StatusCode.INVALID_ARGUMENT is caught.value.code()
            continue
        response = shared_sidecar.stub.Authorize(request)
        unknown = request.principal.role == text
        assert unknown == ("ROLE_UNKNOWN" in {reason.code for reason in response.reasons})


@pytest.mark.parametrize(
    "encoded",
    [b"\xff\xff\xff", b"\x0a\x02\xff\xfe", b"\x12\x05\x0a\x03\xc3\x28\x41", b"\x0a\xff"],
    ids=["no message", "text that is not UTF-8", "nested text that is not UTF-8", "cut off"],
)
def test_invalid_bytes_are_a_malformed_request_not_an_internal_error(
    encoded: bytes, shared_sidecar: RunningSidecar
) -> None:
    """It is the caller's fault, and the error says so."""
    with grpc.insecure_channel(shared_sidecar.addresses[0]) as channel:
        call: Any = channel.unary_unary("/sidecar.v1.AuthorizationService/Authorize")
        with pytest.raises(grpc.RpcError) as caught:
            call(encoded)
    assert grpc.StatusCode.INVALID_ARGUMENT is caught.value.code()
    assert error_info(caught.value).metadata["field"] == "request"


def test_a_huge_request_is_refused_by_the_server(shared_sidecar: RunningSidecar) -> None:
    """The size of messages is bounded."""
    request = pb.SettleRequest(hold_id="h", usage_json="x" * 2**20)
    with pytest.raises(grpc.RpcError) as caught:
        shared_sidecar.stub.Settle(request)
    assert grpc.StatusCode.RESOURCE_EXHAUSTED is caught.value.code()


def test_the_largest_numbers_that_are_let_in_do_not_overflow(
    shared_sidecar: RunningSidecar,
) -> None:
    """L7: at the edge of the bounds, sums stay within int64 and the answer is a plain Deny."""
    most = {"max_output_tokens": 10**9, "choices": 128, "input_tokens": 10**9}
    answer = shared_sidecar.stub.Authorize(chat(principal(role="admin"), estimate=most))
    assert {"REQUEST_TOO_LARGE"} == {reason.code for reason in answer.reasons}


def test_labels_are_neither_stored_nor_logged(shared_sidecar: RunningSidecar) -> None:
    """A credential in a label is found in no answer, no file of the ledger, and no log."""
    who = principal(labels={"authorization": SECRET})
    for model in ("mistral-small-latest", "mistral-large-latest", "unknown"):
        assert SECRET not in str(shared_sidecar.stub.Authorize(chat(who, model=model)))
    for path in shared_sidecar.ledger.parent.iterdir():
        assert SECRET.encode() not in path.read_bytes()
    assert SECRET not in shared_sidecar.log
