"""How large a call may become, from the bytes of its request."""

import inspect
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mistral_spend import (
    EMBEDDINGS,
    FIM,
    OCR,
    REALTIME,
    SPEECH,
    TRANSCRIPTION,
    Estimate,
    Unbounded,
)
from mistral_spend.bounds import estimate
from mistral_spend.request_shapes import SHAPES, Findings
from mistral_spend.v1 import authorization_pb2 as pb
from mistralai.client.chat import Chat
from mistralai.client.embeddings import Embeddings
from mistralai.client.fim import Fim
from mistralai.client.models import ImageURLChunk, TextChunk, UserMessage
from mistralai.client.ocr import Ocr

VECTORS = json.loads((Path(__file__).parents[1] / "vectors" / "mistral_requests.json").read_text())
CHAT = pb.ENDPOINT_CHAT


def chat(content: Any, **rest: Any) -> dict[str, Any]:
    """Return a request for chat."""
    return {"model": "small-1", "messages": [{"role": "user", "content": content}], **rest}


def size(request: dict[str, Any]) -> int:
    """Return the bytes that bound a request for chat."""
    return estimate(CHAT, request).input_bytes


@pytest.mark.parametrize("vector", VECTORS, ids=lambda it: it["name"])
def test_requests_are_read_as_by_every_other_reader(vector: dict[str, Any]) -> None:
    """The TypeScript client and the sidecar's adapters have the same vectors."""
    endpoint = pb.Endpoint.Value(f"ENDPOINT_{vector['endpoint']}")
    args = (endpoint, vector["request"], None, vector.get("tokens_per_attachment"))
    if "unbounded" in vector:
        with pytest.raises(Unbounded):
            estimate(*args)
    else:
        assert estimate(*args) == Estimate(**vector["estimate"])


@given(st.text())
def test_every_byte_of_text_counts(text: str) -> None:
    """All characters count as UTF-8, with the JSON around them."""
    assert size(chat(text)) >= len(text.encode("utf-8", "surrogatepass")) + len(
        json.dumps(chat(""))
    )


@pytest.mark.parametrize(
    "text", ["naïve", "日本語" * 100, "🦊" * 1000, '\x00\n"', "a" * 5_000_000, "\ud83e"]
)
def test_text_of_any_kind_is_bounded(text: str) -> None:
    """Non-ASCII, control characters, five megabytes, and half an emoji."""
    assert size(chat(text)) >= len(text.encode("utf-8", "surrogatepass"))


def test_tools_schemas_and_options_are_part_of_the_request() -> None:
    """Everything that the model gets is text for it."""
    tool = {"type": "function", "function": {"name": "f", "parameters": {"type": "image_url"}}}
    for rest in (
        {"tools": [tool]},
        {"response_format": {"type": "json_schema", "json_schema": {"schema": {"a": "b" * 40}}}},
        {"prediction": {"type": "content", "content": "y" * 60}},
    ):
        assert size(chat("x", **rest)) == size(chat("x")) + len(json.dumps(rest))


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=9),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["type", "text", "content", "image_url", "a"]), inner)
    ),
    max_leaves=9,
)


@given(json_values, st.sampled_from(["content", "tool_calls", "name", "images"]))
def test_what_is_not_text_never_hides_in_a_message(value: Any, name: str) -> None:
    """A message is read as its bytes, or refused: whatever is in it, and without other errors."""
    request = {"model": "small-1", "messages": [{"role": "user", name: value}]}
    try:
        held = size(request)
    except Unbounded:
        return
    assert held == len(json.dumps(request, ensure_ascii=False).encode())
    assert '"image_url":' not in json.dumps(request)


def test_every_argument_of_the_sdk_is_known() -> None:
    """An argument of a new version is refused until the reader knows what it may cost."""
    transport = {"self", "retries", "server_url", "timeout_ms", "http_headers"}
    for endpoint, method in (
        (CHAT, Chat.complete), (CHAT, Chat.stream), (FIM, Fim.complete), (FIM, Fim.stream),
        (EMBEDDINGS, Embeddings.create), (OCR, Ocr.process),
    ):  # fmt: skip
        names = inspect.signature(method).parameters.keys() - transport
        found = Findings()
        SHAPES[endpoint]({name: [] for name in names}, "", found)
        assert "the body" not in found.unknown, names


def test_the_sdks_own_types_are_measured_as_they_are_sent() -> None:
    """A message of the SDK is as large as the same message as a dict."""
    plain = chat([{"type": "text", "text": "hello"}])
    typed = {**plain, "messages": [UserMessage(content=[TextChunk(text="hello")])]}
    assert abs(size(typed) - size(plain)) < 20
    image = ImageURLChunk(image_url="data:image/png;base64," + "A" * 10_000)
    assert estimate(CHAT, chat([image]), None, 7).input_bytes < 1000
    with pytest.raises(TypeError, match="a generator cannot be sent"):
        size({**plain, "messages": (it for it in [1])})


def test_a_request_that_nests_too_deeply_is_refused() -> None:
    """It is Unbounded, as all that cannot be read."""
    deep: list[Any] = []
    for _ in range(200_000):
        deep = [deep]
    with pytest.raises(Unbounded, match="nested too deeply"):
        size(chat("x", metadata={"a": deep}))


@pytest.mark.parametrize(
    "part", [{"type": "image_url", "image_url": "x"}, {"type": "something new"}, {"text": "x"}]
)
def test_an_app_that_bounds_the_input_itself_may_send_anything(part: dict[str, Any]) -> None:
    """Its own count of tokens replaces the bytes."""
    request = chat([{"type": "text", "text": "see"}, part], max_tokens=9)
    with pytest.raises(Unbounded):
        estimate(CHAT, request)
    made = estimate(CHAT, request, Estimate(input_tokens=500))
    assert (made.input_tokens, made.max_output_tokens) == (500, 9)


def test_each_endpoint_is_bounded_by_what_it_is_billed_by() -> None:
    """Embeddings by bytes; OCR by pages and audio by time, which no request says."""
    assert estimate(EMBEDDINGS, {"inputs": ["a", "é"]}).input_bytes == 23
    for endpoint, given_ in ((OCR, Estimate(pages=3)), (TRANSCRIPTION, Estimate(audio_seconds=9))):
        with pytest.raises(Unbounded, match="billed"):
            estimate(endpoint, {})
        assert estimate(endpoint, {}, given_) == given_


def test_options_that_multiply_the_price_are_in_the_estimate() -> None:
    """The service tier and the number of choices."""
    made = estimate(
        CHAT, chat("x", n=3, service_tier="priority", max_tokens=9), Estimate(region="eu")
    )
    assert (made.choices, made.service_tier, made.max_output_tokens) == (3, "priority", 9)
    assert made.region == "eu"
    assert not estimate(CHAT, chat("x", n=None, max_tokens=None)).choices


@pytest.mark.parametrize("option", ["document_annotation_format", "bbox_annotation_format"])
def test_pages_that_are_to_be_annotated_are_held_as_such(option: str) -> None:
    """They have a price of their own, and are not plain pages too; the app may say which are."""
    request = {"model": "scan-1", option: {"type": "json_schema"}}
    made = estimate(OCR, request, Estimate(pages=8))
    assert (made.pages, made.annotated_pages) == (0, 8)
    made = estimate(OCR, request, Estimate(pages=5, annotated_pages=3))
    assert (made.pages, made.annotated_pages) == (5, 3)
    made = estimate(OCR, {**request, option: None}, Estimate(pages=8))
    assert (made.pages, made.annotated_pages) == (8, 0)
    assert estimate(OCR, {}, Estimate(annotated_pages=3)).annotated_pages == 3
    with pytest.raises(Unbounded, match="by the page"):
        estimate(OCR, request)


def test_speech_is_bounded_by_its_text_and_audio_by_time() -> None:
    """Characters are those of `input`, unless the app says; no request has a session's length."""
    assert estimate(SPEECH, {"input": "héllo 👋"}).characters == 7
    assert estimate(SPEECH, {"input": "long"}, Estimate(characters=9)).characters == 9
    assert estimate(REALTIME, {}, Estimate(audio_seconds=9)).audio_seconds == 9
    for endpoint, wrong in ((SPEECH, "by the character"), (REALTIME, "by time")):
        with pytest.raises(Unbounded, match=wrong):
            estimate(endpoint, {})
