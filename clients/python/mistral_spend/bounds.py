"""How large a call may become, from the request that is about to be sent.

A UTF-8 byte bounds a token of text. It bounds nothing of what Mistral fetches, decodes or
adds: images, audio, documents, and tools that run there.
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
"""What of a request for OCR makes its pages annotated ones, which have a price of their own."""

PROMPTS_OF_MISTRAL = ("safe_prompt", "prompt_mode")
"""Options that put a prompt of Mistral's own before the app's."""

BY_TIME = frozenset({pb.ENDPOINT_TRANSCRIPTION, pb.ENDPOINT_REALTIME})
"""Endpoints whose audio no request says the length of."""

MISTRALS_PROMPT_BYTES = 4096
"""More than any such prompt that is known."""


def estimate(
    endpoint: int,
    request: Mapping[str, Any],
    given: pb.Estimate | None = None,
    tokens_per_attachment: int | None = None,
) -> pb.Estimate:
    """Return the bounds of a call: what is given, and for the rest what the request says.

    The request is the body that Mistral gets. An attachment is an image, audio, a document,
    or a tool that runs at Mistral. Raises Unbounded.
    """
    made = pb.Estimate()
    made.CopyFrom(given or made)
    if endpoint in BY_BYTES and made.WhichOneof("input") is None:
        size, attachments = measure(request)
        if attachments and tokens_per_attachment is None:
            raise Unbounded(
                f"of the request's parts, {attachments} are no text: its bytes do not bound its"
                " tokens; give tokens_per_attachment, or estimate=Estimate(input_tokens=…)"
            )
        made.input_bytes = size + attachments * (tokens_per_attachment or 0)
    annotates = endpoint == pb.ENDPOINT_OCR and any(request.get(it) for it in ANNOTATIONS)
    if annotates and not made.annotated_pages:  # else the app says which are, and which are not
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
    """Return the UTF-8 bytes of a request without its attachments, and how many it has."""
    body = json.loads(_json(request))
    attachments = 0
    for message in body.get("messages") or ():
        attachments += _take_out(message, "content", "type", CHUNKS_OF_TEXT)
    attachments += _take_out(body, "tools", "type", frozenset({None, "function"}))
    added = sum(MISTRALS_PROMPT_BYTES for option in PROMPTS_OF_MISTRAL if body.get(option))
    # Half an emoji is no UTF-8, and Mistral's affair; here it is counted all the same.
    return len(_json(body).encode("utf-8", "surrogatepass")) + added, attachments


def as_json(value: Any, *, exclude_unset: bool = False) -> Any:
    """Return what stands for a value of the SDK in JSON. Raises TypeError for any other."""
    if hasattr(value, "model_dump"):
        return value.model_dump(mode="json", by_alias=True, exclude_unset=exclude_unset)
    raise TypeError(f"a {type(value).__name__} cannot be sent as JSON")


def _take_out(holder: Any, name: str, key: str, known: frozenset[str | None]) -> int:
    """Leave in a list only entries of known types; return how many were taken out."""
    entries = holder.get(name) if isinstance(holder, dict) else None
    if not isinstance(entries, list):
        return 0
    holder[name] = [it for it in entries if isinstance(it, dict) and it.get(key) in known]
    return len(entries) - len(holder[name])


def _json(document: Any) -> str:
    return json.dumps(document, ensure_ascii=False, default=as_json)


def _count(value: object) -> int:
    return value if isinstance(value, int) and value > 0 else 0
