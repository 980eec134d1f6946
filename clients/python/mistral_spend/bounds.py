"""The bounds of a call's size, from the request that is about to be sent.

A text has at most as many tokens as UTF-8 bytes. Bytes bound nothing that Mistral fetches,
decodes or adds: images, audio, documents, and tools that run there.
"""

import json
from collections.abc import Mapping
from typing import Any

from mistral_spend.errors import Malformed, Unbounded
from mistral_spend.request_reader import RequestSize, read_request
from mistral_spend.v1 import authorization_pb2 as pb

BY_BYTES = frozenset(
    {pb.ENDPOINT_CHAT, pb.ENDPOINT_FIM, pb.ENDPOINT_EMBEDDINGS, pb.ENDPOINT_MODERATION}
)
"""Endpoints whose input is tokens."""

BY_TIME = frozenset({pb.ENDPOINT_TRANSCRIPTION, pb.ENDPOINT_REALTIME})
"""Endpoints whose requests do not contain the length of the audio."""

_MULTIPLIERS = ("max_tokens", "n", "service_tier")
"""Members that are read even where the app has bounded the input itself."""


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
    if endpoint in BY_TIME and not made.audio_seconds:
        raise Unbounded("audio is billed by time: give estimate=Estimate(audio_seconds=…)")
    by_bytes = endpoint in BY_BYTES and made.WhichOneof("input") is None
    if by_bytes or endpoint in (pb.ENDPOINT_OCR, pb.ENDPOINT_SPEECH):
        size = read_request(endpoint, _as_sent(request))
        _check_known(size)
    else:  # the app has bounded what the request says, whatever that is
        size = read_request(
            pb.ENDPOINT_UNSPECIFIED, {name: request.get(name) for name in _MULTIPLIERS}
        )
    if by_bytes:
        made.input_bytes = _input_bytes(size, tokens_per_attachment)
    if size.is_annotated and not made.annotated_pages:  # else the app has counted both kinds
        made.annotated_pages, made.pages = made.pages or size.pages, 0
    elif not (made.pages or made.annotated_pages):
        made.pages = size.pages
    if endpoint == pb.ENDPOINT_OCR and not (made.pages or made.annotated_pages):
        raise Unbounded("OCR is billed by the page: give estimate=Estimate(pages=…)")
    made.characters = made.characters or size.characters
    if endpoint == pb.ENDPOINT_SPEECH and not made.characters:
        raise Unbounded("speech is billed by the character: give estimate=Estimate(characters=…)")
    made.max_output_tokens = made.max_output_tokens or size.max_output_tokens
    made.choices = made.choices or size.choices
    made.service_tier = made.service_tier or size.service_tier
    return made


def as_json(value: Any, *, exclude_unset: bool = False) -> Any:
    """Convert a value of the SDK for JSON. Raises TypeError for other types."""
    if hasattr(value, "model_dump"):
        return value.model_dump(mode="json", by_alias=True, exclude_unset=exclude_unset)
    raise TypeError(f"a {type(value).__name__} cannot be sent as JSON")


def _as_sent(request: Mapping[str, Any]) -> dict[str, Any]:
    """Return the request as plain JSON. Raises TypeError, and Malformed if it nests too deeply."""
    try:
        body: dict[str, Any] = json.loads(json.dumps(dict(request), default=as_json))
    except RecursionError:
        raise Malformed("the request", "is nested too deeply") from None
    return body


def _check_known(size: RequestSize) -> None:
    if size.unknown:
        raise Unbounded(
            f"{size.unknown[0]} has something that is not known here, which may cost more than"
            " its bytes: give estimate=Estimate(input_tokens=…)"
        )


def _input_bytes(size: RequestSize, tokens_per_attachment: int | None) -> int:
    attachments = size.attachments + len(size.tools)
    if attachments and tokens_per_attachment is None:
        raise Unbounded(
            f"of the request's parts, {attachments} are not text: its bytes do not bound its"
            " tokens; give tokens_per_attachment, or estimate=Estimate(input_tokens=…)"
        )
    return size.input_bytes + attachments * (tokens_per_attachment or 0)
