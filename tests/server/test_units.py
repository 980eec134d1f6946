"""Every unit that Mistral bills by, held and charged by a real sidecar."""

import json
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import grpc
import pytest
from mistral_spend.v1 import authorization_pb2 as pb
from support.policies import minimal
from support.sidecar_process import RunningSidecar, error_info, eventually, principal, tester

Start = Callable[..., RunningSidecar]

TOOLS = {"web_search": 2, "image_generation": 1}

CASES: list[tuple[str, str, dict[str, Any], dict[str, Any], int, int]] = [
    # endpoint, model, estimate, usage, nano-USD held, nano-USD charged
    # 8 pages at $5 per 1,000, and none at $4; then 6 annotated, and 2 that are not
    ("OCR", "mistral-ocr-latest", {"annotated_pages": 8}, {"pages": 0, "annotated_pages": 8},
     40_000_000, 40_000_000),
    ("OCR", "mistral-ocr-4", {"annotated_pages": 8}, {"pages": 2, "annotated_pages": 6},
     40_000_000, 38_000_000),
    ("OCR", "mistral-ocr-2512", {"pages": 2, "annotated_pages": 8}, {"pages": 0},
     28_000_000, 24_000_000),
    # 1,000 characters at $16 per million
    ("SPEECH", "voxtral-mini-tts-2603", {"characters": 1_000}, {"characters": 600},
     16_000_000, 9_600_000),
    # minutes at $0.006
    ("REALTIME", "voxtral-mini-transcribe-realtime-latest", {"audio_seconds": 120},
     {"audio_seconds": 90}, 12_000_000, 9_000_000),
    # tokens at $1.5 and $7.5 per million; searches at $30, images at $100 per 1,000
    ("CHAT", "mistral-medium-latest",
     {"input_tokens": 100, "max_output_tokens": 100, "tool_calls": TOOLS},
     {"input_tokens": 90, "output_tokens": 40, "tool_calls": {"web_search": 1}},
     160_900_000, 30_435_000),
    # tools left out of the report count as they were held, and one that was not held counts
    ("CHAT", "mistral-medium-latest",
     {"input_tokens": 100, "max_output_tokens": 100, "tool_calls": {"web_search": 1}},
     {"input_tokens": 90, "output_tokens": 40}, 30_900_000, 30_435_000),
    ("CHAT", "mistral-medium-latest", {"input_tokens": 100, "max_output_tokens": 100},
     {"input_tokens": 90, "output_tokens": 40, "tool_calls": {"web_search": 1}},
     900_000, 30_435_000),
    # audio in a chat: tokens, and minutes at $0.004
    ("CHAT", "voxtral-small-latest",
     {"input_tokens": 100, "max_output_tokens": 100, "audio_seconds": 60},
     {"input_tokens": 90, "output_tokens": 40, "audio_seconds": 30}, 4_050_000, 2_025_000),
    # cached input with a price of its own: 100 at $0.70 or $0.07, and 100 at $2.10
    ("CHAT", "mistral-large-4", {"input_tokens": 100, "max_output_tokens": 100},
     {"input_tokens": 100, "cached_input_tokens": 100, "output_tokens": 100}, 280_000, 217_000),
]  # fmt: skip


def ask(model: str, endpoint: str = "UNSPECIFIED", **estimate: Any) -> pb.AuthorizeRequest:
    """Return a request of a principal that may call every model."""
    return pb.AuthorizeRequest(
        principal=principal(id="units", role="admin", workspace="ml-workspace"),
        model=model,
        endpoint=f"ENDPOINT_{endpoint}",
        estimate=pb.Estimate(**estimate),
    )


@pytest.mark.parametrize(("endpoint", "model", "estimate", "usage", "held", "charged"), CASES)
def test_each_unit_is_held_and_charged(
    shared_sidecar: RunningSidecar,
    endpoint: str,
    model: str,
    estimate: dict[str, Any],
    usage: dict[str, Any],
    held: int,
    charged: int,
) -> None:
    """L1, L7: annotated pages, characters, realtime audio, tools and cached input have prices."""
    answer = shared_sidecar.stub.Authorize(ask(model, endpoint, **estimate))
    assert (pb.EFFECT_ALLOW, held) == (answer.effect, answer.held_cost_nano_usd)
    settled = shared_sidecar.stub.Settle(
        pb.SettleRequest(hold_id=answer.hold_id, usage=pb.Usage(**usage))
    )
    assert charged == settled.charged_cost_nano_usd
    assert settled.overrun == (charged > held)


@pytest.mark.parametrize(
    ("model", "endpoint", "estimate", "missing"),
    [
        ("mistral-ocr-latest", "CHAT",
         {"input_tokens": 1, "max_output_tokens": 1}, "input tokens"),
        ("mistral-small-latest", "OCR", {"annotated_pages": 1}, "pages"),
        ("mistral-small-latest", "SPEECH", {"characters": 1}, "characters"),
        ("mistral-small-latest", "CHAT",
         {"input_tokens": 1, "max_output_tokens": 1, "tool_calls": {"teleport": 1}},
         "calls of teleport"),
        ("mistral-small-latest", "CHAT",
         {"input_tokens": 1, "max_output_tokens": 1, "service_tier": "turbo"}, "service tier"),
    ],
)  # fmt: skip
def test_a_unit_without_a_price_is_denied(
    shared_sidecar: RunningSidecar,
    model: str,
    endpoint: str,
    estimate: dict[str, Any],
    missing: str,
) -> None:
    """What a call may use and its model has no price for is MODEL_NOT_PRICED, and is named."""
    (reason,) = shared_sidecar.stub.Authorize(ask(model, endpoint, **estimate)).reasons
    assert reason.code == "MODEL_NOT_PRICED"
    assert missing in reason.message


@pytest.mark.parametrize(
    ("requested", "served", "held", "charged"),
    [
        # 1,000 tokens of each at $0.15 and $0.6: 750,000 at list price, 1,312,500 by priority
        ("", "", 750_000, 750_000),
        ("standard_only", "standard", 750_000, 750_000),
        ("standard", "default", 750_000, 750_000),
        ("auto", "standard", 1_312_500, 750_000),
        ("auto", "default", 1_312_500, 750_000),
        ("auto", "priority", 1_312_500, 1_312_500),
        ("auto", "", 1_312_500, 1_312_500),
        ("priority", "standard", 1_312_500, 750_000),
        ("priority", "a tier of tomorrow", 1_312_500, 1_312_500),
        ("standard_only", "priority", 750_000, 1_312_500),
    ],
)
def test_service_tiers_have_mistrals_names(
    shared_sidecar: RunningSidecar, requested: str, served: str, held: int, charged: int
) -> None:
    """L1: a tier that Mistral chooses is held at the highest price, and the tier that served is charged."""
    estimate = {"input_tokens": 1000, "max_output_tokens": 1000, "service_tier": requested}
    answer = shared_sidecar.stub.Authorize(ask("mistral-small-latest", "CHAT", **estimate))
    assert (pb.EFFECT_ALLOW, held) == (answer.effect, answer.held_cost_nano_usd)
    usage = {"prompt_tokens": 1000, "completion_tokens": 1000, "service_tier": served}
    settle = pb.SettleRequest(hold_id=answer.hold_id, usage_json=json.dumps(usage))
    assert charged == shared_sidecar.stub.Settle(settle).charged_cost_nano_usd


@pytest.mark.parametrize(
    ("model", "estimate", "meant"),
    [
        ("mistral-embed", {"input_tokens": 10}, "EMBEDDINGS"),
        ("codestral-embed-2505", {"input_bytes": 10}, "EMBEDDINGS"),
        ("mistral-moderation-2603", {"input_tokens": 10}, "MODERATION"),
        ("mistral-ocr-latest", {"pages": 1}, "OCR"),
        ("voxtral-mini-latest", {"audio_seconds": 1}, "TRANSCRIPTION"),
        ("voxtral-mini-tts-latest", {"characters": 1}, "SPEECH"),
        ("voxtral-mini-transcribe-realtime-2602", {"audio_seconds": 1}, "REALTIME"),
        # chat is one of those that its entry lists
        ("voxtral-small-latest", {"input_tokens": 10, "max_output_tokens": 10}, "CHAT"),
        ("mistral-small-latest", {"input_tokens": 10, "max_output_tokens": 10}, "CHAT"),
    ],
)
def test_an_omitted_endpoint_is_the_models_default(
    shared_sidecar: RunningSidecar, model: str, estimate: dict[str, Any], meant: str
) -> None:
    """The first that its entry lists, where these are without chat; it costs the same as if said."""
    left_out, explicit = (
        shared_sidecar.stub.Authorize(ask(model, endpoint, **estimate))
        for endpoint in ("UNSPECIFIED", meant)
    )
    assert left_out.effect == explicit.effect == pb.EFFECT_ALLOW
    assert left_out.held_cost_nano_usd == explicit.held_cost_nano_usd
    with closing(sqlite3.connect(shared_sidecar.ledger)) as connection:
        found = connection.execute(
            "SELECT endpoint FROM decisions WHERE decision_id IN (?, ?)",
            (left_out.decision_id, explicit.decision_id),
        ).fetchall()
    assert found == [(meant,)] * 2


def test_an_endpoint_left_out_needs_the_size_that_it_is_billed_by(
    shared_sidecar: RunningSidecar,
) -> None:
    """The error names the field, as if the endpoint had been said."""
    with pytest.raises(grpc.RpcError) as error:
        shared_sidecar.stub.Authorize(ask("mistral-ocr-latest", input_tokens=10))
    assert error_info(error.value).metadata["field"] == "estimate.pages"


def test_an_endpoint_that_the_entry_does_not_list_is_not_denied(
    shared_sidecar: RunningSidecar,
) -> None:
    """`endpoints` sets the default of an omitted endpoint; it denies nothing."""
    request = ask("codestral-latest", "EMBEDDINGS", input_tokens=10)
    assert shared_sidecar.stub.Authorize(request).effect == pb.EFFECT_ALLOW


def test_a_rule_sees_the_new_units(start_sidecar: Start, tmp_path: Path) -> None:
    """`request` has annotated pages, characters and calls of tools; `model` has its endpoints."""
    files = minimal(
        tmp_path / "policies",
        too_much="""\
// METADATA
// effect: deny
// reason: TOO_MUCH
// http_status: 403
// message: too much
// owner: someone@example.com
("web_search" in request.tool_calls && request.tool_calls["web_search"] > 2) ||
  request.characters > 5 || request.annotated_pages > 5 ||
  (request.endpoint == "OCR" && !("OCR" in model.endpoints))
""",
    )
    sidecar = start_sidecar(files).stub
    for estimate, endpoint, denied in (
        ({"tool_calls": {"web_search": 2}}, "CHAT", False),
        ({"tool_calls": {"web_search": 3}}, "CHAT", True),
        ({"characters": 6}, "SPEECH", True),
        ({"annotated_pages": 6}, "OCR", True),
        ({"pages": 1}, "OCR", True),
    ):
        size = {"input_tokens": 1, "max_output_tokens": 1, **estimate}
        request = ask("small-1", endpoint, **size)
        request.principal.CopyFrom(tester())
        answer = sidecar.Authorize(request)
        assert ("TOO_MUCH" in {reason.code for reason in answer.reasons}) is denied


def test_a_hold_of_every_unit_expires_at_its_worst_case_and_verifies(
    start_sidecar: Start,
) -> None:
    """L2, L5: tools and characters that were never settled are charged as held, and recorded."""
    sidecar = start_sidecar(None, "--hold-ttl", "1")
    request = ask(
        "mistral-medium-latest", "CHAT", input_tokens=100, max_output_tokens=100,
        tool_calls={"web_search": 2, "code_interpreter": 1},
    )  # fmt: skip
    hold_id = sidecar.stub.Authorize(request).hold_id

    def closed() -> list[tuple[Any, ...]]:
        with closing(sqlite3.connect(sidecar.ledger)) as connection:
            return connection.execute(
                "SELECT charged_cost_nano_usd, held_tool_calls, charged_tool_calls FROM holds"
                " WHERE hold_id = ? AND state = 'expired'",
                (hold_id,),
            ).fetchall()

    calls = '{"code_interpreter":1,"web_search":2}'
    assert eventually(closed) == [(90_900_000, calls, calls)]
