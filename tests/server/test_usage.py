"""Settlements with recorded usage of Mistral's responses, on a real sidecar."""

import json
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import grpc
import pytest
from mistral_spend import SidecarClient
from mistral_spend.v1 import authorization_pb2 as pb
from server.recorded_usage import MORE_MODELS, RECORDED, Recorded
from support import policies
from support.outside import METRICS, page, samples
from support.sidecar_process import (
    RunningSidecar,
    chat,
    error_info,
    principal,
    tester,
)

Start = Callable[..., RunningSidecar]

ADMIN = principal(role="admin", workspace="ml-workspace")
ESTIMATES: dict[str, dict[str, Any]] = {
    "CHAT": {"input_tokens": 7_400, "max_output_tokens": 600},
    "FIM": {"input_tokens": 1_000, "max_output_tokens": 1_000},
    "EMBEDDINGS": {"input_tokens": 1_000},
    "MODERATION": {"input_tokens": 1_000},
    "OCR": {"pages": 30, "annotated_pages": 10},
    "TRANSCRIPTION": {"audio_seconds": 600},
}

each_recorded = pytest.mark.parametrize("it", RECORDED, ids=[it.name for it in RECORDED])


@pytest.fixture(scope="module")
def sidecar(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningSidecar]:
    """One sidecar on the shipped policies, with the older models that were recorded."""
    folder = tmp_path_factory.mktemp("recorded")
    directory = policies.shipped(folder / "p")
    shipped = (directory / "models.yaml").read_text()
    (directory / "recorded-models.yaml").write_text(
        "models:\n"
        + "".join(
            f"  {name}: {{family: recorded, prices: {prices}}}\n"
            for name, prices in {**MORE_MODELS, "unused": "[]"}.items()
            if name not in shipped
        )
    )
    one = RunningSidecar(directory, folder / "ledger.sqlite").start()
    yield one
    assert one.stop() == 0


@each_recorded
def test_each_recorded_response_is_charged_exactly(it: Recorded, sidecar: RunningSidecar) -> None:
    """The response as it came is charged in the endpoint's own units, once, and is no overrun."""
    request = request_of(it)
    held = sidecar.stub.Authorize(request)
    assert held.effect == pb.EFFECT_ALLOW, held.reasons
    settle = pb.SettleRequest(hold_id=held.hold_id, usage_json=json.dumps(it.response))
    charged = sidecar.stub.Settle(settle)
    assert (charged.charged_cost_nano_usd, charged.charged_tokens) == (it.charge, it.tokens)
    assert (charged.overrun, charged.unrecognized_usage) == (False, False)


@each_recorded
def test_the_python_client_reads_it_too(it: Recorded, sidecar: RunningSidecar) -> None:
    """What an app gives to `settle` is charged the same, with or without a model in it."""
    request = request_of(it)
    with SidecarClient(sidecar.addresses[0], when_unavailable="deny") as budget:
        asking = budget.authorize_request(
            ADMIN, {"model": it.model}, endpoint=request.endpoint, estimate=request.estimate
        )
        with asking as call:
            settlement = call.settle(it.response).result(30)
    assert settlement.charged_cost_nano_usd == it.charge
    assert not settlement.unrecognized_usage


def request_of(it: Recorded) -> pb.AuthorizeRequest:
    """Return the request before a response."""
    estimate = pb.Estimate(**ESTIMATES[it.endpoint], batch=it.batch)
    if it.endpoint == "OCR" and "pages_processed_annotation" not in json.dumps(it.response):
        estimate.annotated_pages = 0  # or what is left out would be charged
    if it.model == "searching-1":
        estimate.tool_calls["web_search"] = 3
    return pb.AuthorizeRequest(
        principal=ADMIN, model=it.model, endpoint=f"ENDPOINT_{it.endpoint}", estimate=estimate
    )


UNRECOGNIZED = [
    ("no field that is known", "CHAT", {"weight": 3}),
    ("an empty object", "CHAT", {}),
    ("a response without a usage", "CHAT", {"model": "mistral-small-2603", "choices": []}),
    ("nothing at all", "CHAT", None),
    ("only null", "CHAT", {"usage": {"prompt_tokens": None}}),
    ("only a total, which may be 0", "EMBEDDINGS", {"usage": {"total_tokens": 9}}),
    ("another endpoint's counts", "OCR", {"usage": {"prompt_tokens": 5, "completion_tokens": 5}}),
    ("a line of a batch that failed", "CHAT", {"response": {"status_code": 500, "body": {}}}),
]
MODELS = {
    "CHAT": "mistral-small-latest", "EMBEDDINGS": "mistral-embed", "OCR": "mistral-ocr-2512",
}  # fmt: skip


@pytest.mark.parametrize(
    ("endpoint", "usage"), [row[1:] for row in UNRECOGNIZED], ids=[row[0] for row in UNRECOGNIZED]
)
def test_l5_an_unrecognized_usage_is_charged_as_held_and_flagged(
    endpoint: str, usage: dict[str, Any] | None, shared_sidecar: RunningSidecar
) -> None:
    """L3, L5: the worst case, with a flag; a second Settle has the flag of the first."""
    request = request_of(Recorded("", endpoint, MODELS[endpoint], {}, 0))
    held = shared_sidecar.stub.Authorize(request)
    settle = pb.SettleRequest(hold_id=held.hold_id, usage_json=json.dumps(usage))
    first = shared_sidecar.stub.Settle(settle)
    assert first.charged_cost_nano_usd == held.held_cost_nano_usd
    assert (first.unrecognized_usage, first.overrun) == (True, False)
    settle.usage.input_tokens = 1
    assert shared_sidecar.stub.Settle(settle).unrecognized_usage


@pytest.mark.parametrize(
    "reported",
    [{}, {"usage": pb.Usage()}, {"usage": pb.Usage(output_tokens=0)}],
    ids=["nothing", "an empty usage", "a part"],
)
def test_known_or_missing_usage_is_not_flagged(
    reported: dict[str, Any], shared_sidecar: RunningSidecar
) -> None:
    """An app that reports nothing is charged as held without a flag."""
    held = shared_sidecar.stub.Authorize(chat(ADMIN))
    settle = pb.SettleRequest(hold_id=held.hold_id, **reported)
    assert not shared_sidecar.stub.Settle(settle).unrecognized_usage
    settle.usage_json = '{"weight": 3}'
    assert not shared_sidecar.stub.Settle(settle).unrecognized_usage


def test_moderation_has_no_usage_to_know(shared_sidecar: RunningSidecar) -> None:
    """Its responses may come without one, and that is nothing to warn of."""
    request = request_of(Recorded("", "MODERATION", "mistral-moderation-2603", {}, 0))
    held = shared_sidecar.stub.Authorize(request)
    settle = pb.SettleRequest(hold_id=held.hold_id, usage_json='{"results": []}')
    assert not shared_sidecar.stub.Settle(settle).unrecognized_usage


@pytest.mark.parametrize("part", [{}, "61", [61], True])
def test_an_optional_part_of_a_wrong_type_counts_as_left_out(
    part: object, shared_sidecar: RunningSidecar
) -> None:
    """The rest of the usage is charged, as if that part were not there."""
    held = shared_sidecar.stub.Authorize(chat(ADMIN))
    usage = {"prompt_tokens": 10, "completion_tokens": 5, "prompt_audio_seconds": part}
    settle = pb.SettleRequest(hold_id=held.hold_id, usage_json=json.dumps(usage))
    assert shared_sidecar.stub.Settle(settle).charged_cost_nano_usd == 10 * 150 + 5 * 600


@pytest.mark.parametrize(
    "usage",
    [
        {"prompt_audio_seconds": 10**10},
        {"total_tokens": -1},
        {"num_cached_tokens": 10**10},
    ],
    ids=lambda usage: next(iter(usage)),
)
def test_a_number_out_of_range_is_refused(
    usage: dict[str, int], shared_sidecar: RunningSidecar
) -> None:
    """It is an error of the app, and the hold stays open."""
    held = shared_sidecar.stub.Authorize(chat(ADMIN))
    settle = pb.SettleRequest(
        hold_id=held.hold_id, usage_json=json.dumps({"prompt_tokens": 1, **usage})
    )
    with pytest.raises(grpc.RpcError) as caught:
        shared_sidecar.stub.Settle(settle)
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    settle.usage_json = '{"prompt_tokens": 1, "completion_tokens": 0}'
    assert shared_sidecar.stub.Settle(settle).charged_cost_nano_usd == 150


@pytest.mark.parametrize(
    ("usage", "name", "flag"),
    [
        ({"input_tokens": 10**8 + 1}, "input_tokens", "--max-settled-tokens"),
        ({"output_tokens": 10**9}, "output_tokens", "--max-settled-tokens"),
        ({"cached_input_tokens": 10**9}, "cached_input_tokens", "--max-settled-tokens"),
        ({"pages": 10**9}, "pages", "--max-settled-pages"),
        ({"annotated_pages": 10**9}, "annotated_pages", "--max-settled-pages"),
        ({"audio_seconds": 10**9}, "audio_seconds", "--max-settled-audio-seconds"),
        ({"characters": 10**9}, "characters", "--max-settled-characters"),
        ({"tool_calls": {"web_search": 10**9}}, "tool_calls", "--max-settled-tool-calls"),
    ],
    ids=str,
)
def test_a_usage_beyond_any_call_is_refused_and_the_hold_stays(
    usage: dict[str, Any], name: str, flag: str, shared_sidecar: RunningSidecar
) -> None:
    """No Settle closes an organization's budget; the right one can still come."""
    held = shared_sidecar.stub.Authorize(chat(ADMIN))
    with pytest.raises(grpc.RpcError) as caught:
        shared_sidecar.stub.Settle(pb.SettleRequest(hold_id=held.hold_id, usage=pb.Usage(**usage)))
    info = error_info(caught.value)
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert (info.reason, info.metadata["field"]) == ("USAGE_TOO_LARGE", f"usage.{name}")
    assert flag in str(caught.value.details())
    right = pb.SettleRequest(hold_id=held.hold_id, usage=pb.Usage(input_tokens=1, output_tokens=0))
    assert shared_sidecar.stub.Settle(right).charged_cost_nano_usd == 150
    right.usage.output_tokens = 10**9  # L3: the first outcome stays
    assert shared_sidecar.stub.Settle(right).charged_cost_nano_usd == 150


def test_a_refused_usage_raises_an_alert(start_sidecar: Start) -> None:
    """With the workspace, what was reported and what was held; once in an hour."""
    sidecar = start_sidecar(None, "--max-settled-tokens", "1000")
    for tokens in (1000, 1001, 5000):
        held = sidecar.stub.Authorize(chat(ADMIN))
        settle = pb.SettleRequest(hold_id=held.hold_id, usage=pb.Usage(input_tokens=tokens))
        if tokens == 1000:
            assert sidecar.stub.Settle(settle).overrun
            continue
        with pytest.raises(grpc.RpcError, match="--max-settled-tokens"):
            sidecar.stub.Settle(settle)
    assert sidecar.stop() == 0
    with closing(sqlite3.connect(sidecar.ledger)) as ledger:
        found = ledger.execute(
            "SELECT scope, spent > held FROM alerts WHERE kind = 'usage_refused'"
        )
        assert found.fetchall() == [("ml-workspace", 1)]


def test_unknown_names_of_usage_are_counted_and_logged_once(
    start_sidecar: Start, tmp_path: Path
) -> None:
    """Never a value; names that cannot be printed or are too long are not logged."""
    running = start_sidecar(policies.minimal(tmp_path / "p"), *METRICS)
    known = {"prompt_tokens": 1, "completion_tokens": 1}
    for usage in (
        {**known, "doc_size_bytes": 987_654_001, "prompt_audio_seconds": {"secret": 987_654_002}},
        {**known, "doc_size_bytes": 987_654_003, "a\nb": 987_654_004, "n" * 65: 987_654_005},
        {**known, "connector_tokens": 987_654_006, "service_tier": 987_654_007},
        *({**known, f"made_up_{number}": 987_654_008} for number in range(300)),
        {"nothing": 987_654_009},
        {"nothing": 987_654_010},
    ):
        held = running.stub.Authorize(chat(tester(), model="small-1"))
        settle = pb.SettleRequest(hold_id=held.hold_id, usage_json=json.dumps(usage))
        for _ in range(2):
            running.stub.Settle(settle)
    found = samples(page(running))
    assert found[("sidecar_unrecognized_usage_total", frozenset())] == 2
    assert running.stop() == 0
    log = running.log
    assert log.count("doc_size_bytes") == log.count("prompt_audio_seconds") == 1
    assert log.count("service_tier") == 1
    assert "connector_tokens" not in log  # they are in the total
    assert 200 < log.count("made_up_") < 256
    assert "987654" not in log
    assert "nnnn" not in log
    warnings = [line for line in log.splitlines() if "its usage has no known count" in line]
    assert len(warnings) == 4
    assert all("hold_" in line for line in warnings)
