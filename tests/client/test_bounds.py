"""How large a call may become, from the bytes of its request."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mistral_spend import EMBEDDINGS, OCR, REALTIME, SPEECH, TRANSCRIPTION, Estimate, Unbounded
from mistral_spend.bounds import estimate, measure
from mistral_spend.v1 import authorization_pb2 as pb
from mistralai.client.models import ImageURLChunk, TextChunk, UserMessage

CHAT = pb.ENDPOINT_CHAT


def chat(content: Any, **rest: Any) -> dict[str, Any]:
    """Return a request for chat."""
    return {"model": "small-1", "messages": [{"role": "user", "content": content}], **rest}


@given(st.text())
def test_every_byte_of_text_counts(text: str) -> None:
    """All characters count as UTF-8, with the JSON around them."""
    size, attachments = measure(chat(text))
    assert size >= len(text.encode("utf-8", "surrogatepass")) + len(json.dumps(chat("")))
    assert attachments == 0


@pytest.mark.parametrize(
    "text", ["naïve", "日本語" * 100, "🦊" * 1000, '\x00\n"', "a" * 5_000_000, "\ud83e"]
)
def test_text_of_any_kind_is_bounded(text: str) -> None:
    """Non-ASCII, control characters, five megabytes, and half an emoji."""
    made = estimate(CHAT, chat(text))
    assert made.input_bytes >= len(text.encode("utf-8", "surrogatepass"))


def test_tools_schemas_and_options_are_part_of_the_request() -> None:
    """Everything that the model gets is text for it."""
    tool = {"type": "function", "function": {"name": "f", "parameters": {"type": "image_url"}}}
    plain, _ = measure(chat("x"))
    for rest in (
        {"tools": [tool]},
        {"response_format": {"type": "json_schema", "json_schema": {"schema": {"a": "b" * 40}}}},
        {"prediction": {"type": "content", "content": "y" * 60}},
    ):
        assert measure(chat("x", **rest)) == (plain + len(json.dumps(rest)), 0)
    for option in ({"safe_prompt": True}, {"prompt_mode": "reasoning"}):
        assert measure(chat("x", **option))[0] > plain + 4000


def test_the_sdks_own_types_are_measured_as_they_are_sent() -> None:
    """A message of the SDK is as large as the same message as a dict."""
    plain = chat([{"type": "text", "text": "hello"}])
    typed = {**plain, "messages": [UserMessage(content=[TextChunk(text="hello")])]}
    assert abs(measure(typed)[0] - measure(plain)[0]) < 20
    with pytest.raises(TypeError, match="a generator cannot be sent"):
        measure({**plain, "messages": (it for it in [1])})


@pytest.mark.parametrize(
    "chunk",
    [
        {"type": "image_url", "image_url": "https://example.com/x.png"},
        {"type": "document_url", "document_url": "https://example.com/x.pdf"},
        {"type": "input_audio", "input_audio": "AAAA"},
        {"type": "file", "file_id": "1"},
        {"type": "something new"},
        {"text": "of no type"},
        ImageURLChunk(image_url="data:image/png;base64," + "A" * 10_000),
    ],
    ids=str,
)
def test_what_bytes_do_not_bound_is_refused_unless_the_app_bounds_it(chunk: Any) -> None:
    """Images, audio, files, and any kind that is unknown here; its bytes then count for nothing."""
    request = chat([{"type": "text", "text": "see"}, chunk])
    with pytest.raises(Unbounded, match="of the request's parts, 1 are not text"):
        estimate(CHAT, request)
    assert estimate(CHAT, request, Estimate(input_tokens=500)).input_tokens == 500
    text = measure(chat([{"type": "text", "text": "see"}]))[0]
    assert estimate(CHAT, request, None, 4000).input_bytes == text + 4000


def test_tools_that_run_at_mistral_are_refused_too() -> None:
    """The request does not contain what they read."""
    with pytest.raises(Unbounded):
        estimate(CHAT, chat("x", tools=[{"type": "web_search"}]))


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
