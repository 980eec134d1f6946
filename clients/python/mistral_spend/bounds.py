"""The bounds of a call's size, from the request that is about to be sent.

A text has at most as many tokens as UTF-8 bytes. Bytes bound nothing that Mistral fetches,
decodes or adds: images, audio, documents, and tools that run there.
"""

import json
from collections.abc import Mapping
from typing import Any

from mistral_spend.errors import Unbounded
from mistral_spend.v1 import authorization_pb2 as pb

BY_BYTES = frozenset(
    {pb.ENDPOINT_CHAT, pb.ENDPOINT_FIM, pb.ENDPOINT_EMBEDDINGS, pb.ENDPOINT_MODERATION}
)
"""Endpoints whose input is tokens."""

CHUNKS_OF_TEXT = frozenset({"text", "thinking", "reference"})

ANNOTATIONS = ("document_annotation_format", "bbox_annotation_format")
"""Options of OCR by which pages are annotated, which has a price of its own."""

PROMPTS_OF_MISTRAL = ("safe_prompt", "prompt_mode")
"""Options by which Mistral adds a prompt of its own."""

BY_TIME = frozenset({pb.ENDPOINT_TRANSCRIPTION, pb.ENDPOINT_REALTIME})
"""Endpoints whose requests do not contain the length of the audio."""

MISTRALS_PROMPT_BYTES = 4096
"""More than any known prompt of Mistral's."""


def estimate(
    endpoint: int,
    request: Mapping[str, Any],
    given: pb.Estimate | None = None,
    tokens_per_attachment: int | None = None,
) -> pb.Estimate:
    """Return the bounds of a call: those given, completed from the request.

    The request is the body that Mistral gets. An attachment is an image, audio, a document,
    or a tool that runs at Mistral. Raises Unbounded.
    """
    made = pb.Estimate()
    made.CopyFrom(given or made)
    if endpoint in BY_BYTES and made.WhichOneof("input") is None:
        size, attachments = measure(request)
        if attachments and tokens_per_attachment is None:
            raise Unbounded(
                f"of the request's parts, {attachments} are not text: its bytes do not bound its"
                " tokens; give tokens_per_attachment, or estimate=Estimate(input_tokens=…)"
            )
        made.input_bytes = size + attachments * (tokens_per_attachment or 0)
    annotates = endpoint == pb.ENDPOINT_OCR and any(request.get(it) for it in ANNOTATIONS)
    if annotates and not made.annotated_pages:  # else the app has counted both kinds
        made.annotated_pages, made.pages = made.pages, 0
    if endpoint == pb.ENDPOINT_OCR and not (made.pages or made.annotated_pages):
        raise Unbounded("OCR is billed by the page: give estimate=Estimate(pages=…)")
    text = request.get("input")
    if endpoint == pb.ENDPOINT_SPEECH and not made.characters:
        made.characters = len(text) if isinstance(text, str) else 0
        if not made.characters:
            raise Unbounded(
                "speech is billed by the character: give estimate=Estimate(characters=…)"
            )
    if endpoint in BY_TIME and not made.audio_seconds:
        raise Unbounded("audio is billed by time: give estimate=Estimate(audio_seconds=…)")
    made.max_output_tokens = made.max_output_tokens or _count(request.get("max_tokens"))
    made.choices = made.choices or _count(request.get("n"))
    tier = request.get("service_tier")
    made.service_tier = made.service_tier or (tier if isinstance(tier, str) else "")
    return made


def measure(request: Mapping[str, Any]) -> tuple[int, int]:
    """Return the UTF-8 bytes of a request without attachments, and the number of attachments."""
    body = json.loads(_json(request))
    attachments = 0
    for message in body.get("messages") or ():
        attachments += _remove_unknown(message, "content", "type", CHUNKS_OF_TEXT)
    attachments += _remove_unknown(body, "tools", "type", frozenset({None, "function"}))
    added = sum(MISTRALS_PROMPT_BYTES for option in PROMPTS_OF_MISTRAL if body.get(option))
    # An unpaired surrogate is not UTF-8; Mistral may refuse it, and here it is only counted.
    return len(_json(body).encode("utf-8", "surrogatepass")) + added, attachments


def as_json(value: Any, *, exclude_unset: bool = False) -> Any:
    """Convert a value of the SDK for JSON. Raises TypeError for other types."""
    if hasattr(value, "model_dump"):
        return value.model_dump(mode="json", by_alias=True, exclude_unset=exclude_unset)
    raise TypeError(f"a {type(value).__name__} cannot be sent as JSON")


def _remove_unknown(holder: Any, name: str, key: str, known: frozenset[str | None]) -> int:
    """Remove the entries of unknown types from a list; return how many were removed."""
    entries = holder.get(name) if isinstance(holder, dict) else None
    if not isinstance(entries, list):
        return 0
    holder[name] = [it for it in entries if isinstance(it, dict) and it.get(key) in known]
    return len(entries) - len(holder[name])


def _json(document: Any) -> str:
    return json.dumps(document, ensure_ascii=False, default=as_json)


def _count(value: object) -> int:
    return value if isinstance(value, int) and value > 0 else 0
