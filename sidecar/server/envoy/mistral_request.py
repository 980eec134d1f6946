"""A call to Mistral's HTTP API, translated to Authorize: path, headers, body."""

from collections.abc import Mapping
from typing import Any

from mistral_spend.v1 import authorization_pb2 as pb

from sidecar.contract.validation import InvalidFieldError
from sidecar.domain.bounds import MAX_CHOICES
from sidecar.domain.usage import MAX_COUNT
from sidecar.server.errors import RefusedError
from sidecar.server.strict_json import member, read_object, refuse_other_spellings

MAX_BODY_BYTES = 1_048_576

ENDPOINTS = {
    "/v1/chat/completions": pb.ENDPOINT_CHAT,
    "/v1/fim/completions": pb.ENDPOINT_FIM,
    "/v1/embeddings": pb.ENDPOINT_EMBEDDINGS,
    "/v1/ocr": pb.ENDPOINT_OCR,
    "/v1/moderations": pb.ENDPOINT_MODERATION,
    "/v1/audio/transcriptions": pb.ENDPOINT_TRANSCRIPTION,
    "/v1/audio/speech": pb.ENDPOINT_SPEECH,
}
"""Mistral's paths, matched exactly: Mistral may read a similar path as another one."""
WITH_OUTPUT = frozenset({pb.ENDPOINT_CHAT, pb.ENDPOINT_FIM})

SAFE_PROMPT_BYTES = 512
"""An upper bound of the text that Mistral adds to a chat with safe_prompt."""
MAX_TOKENS_BYTES = 64
"""An upper bound of what a body grows by when max_tokens is added."""

_READ = ("model", "max_tokens", "n", "messages", "pages", "safe_prompt", "service_tier")
_ANNOTATIONS = ("document_annotation_format", "bbox_annotation_format")
_READ_TOO = {pb.ENDPOINT_OCR: _ANNOTATIONS, pb.ENDPOINT_SPEECH: ("input",)}
_TEXT = {"text", "thinking", "reference"}
"""Types of a message's parts whose bytes bound their tokens."""

_PARTIAL = "x-envoy-auth-partial-body"


def endpoint_of(method: str, path: str) -> pb.Endpoint:
    """Return which endpoint is called. Raises RefusedError or InvalidFieldError."""
    endpoint = ENDPOINTS.get(path)
    if endpoint is None:
        raise RefusedError(
            "ENDPOINT_UNKNOWN", f"the path is not exactly one of {', '.join(ENDPOINTS)}", 403
        )
    if method != "POST":
        raise RefusedError("METHOD_NOT_ALLOWED", "the method is not POST", 405)
    if endpoint == pb.ENDPOINT_TRANSCRIPTION:
        raise RefusedError(
            "AUDIO_UNBOUNDED",
            "the request does not say how long the audio is: authorize it by sidecar.v1 with"
            " estimate.audio_seconds, and send it around this filter",
            403,
        )
    return endpoint


def check_whole(headers: Mapping[str, str], body: bytes) -> None:
    """Raise RefusedError for a body that is incomplete, compressed or not JSON."""
    if not body:
        raise RefusedError("BODY_MISSING", "there is no body: does Envoy have with_request_body?")
    if len(body) > MAX_BODY_BYTES:
        raise RefusedError("BODY_TOO_LARGE", f"the body has more than {MAX_BODY_BYTES} bytes", 413)
    partial, length = headers.get(_PARTIAL), headers.get("content-length")
    whole = partial == "false" if partial is not None else length is not None
    if not whole or (length is not None and length != str(len(body))):
        raise RefusedError(
            "BODY_TRUNCATED",
            "the body may be incomplete: raise max_request_bytes in Envoy, without"
            " allow_partial_message",
            413,
        )
    if headers.get("content-encoding", "identity") != "identity":
        raise RefusedError("BODY_ENCODED", "the body is compressed: send it uncompressed", 415)
    kind, _, parameters = headers.get("content-type", "").lower().partition(";")
    if kind.strip() != "application/json" or parameters.strip() not in _UTF_8:
        raise RefusedError("BODY_NOT_JSON", "the content-type is not application/json", 415)


_UTF_8 = {"", "charset=utf-8", 'charset="utf-8"'}


def authorize_request(endpoint: pb.Endpoint, content: bytes) -> pb.AuthorizeRequest:
    """Translate a body into a request without a principal.

    `max_output_tokens` is 0 if the body has no max_tokens.
    Raises RefusedError or InvalidFieldError.
    """
    body = read_object(content)
    refuse_other_spellings(body, (*_READ, *_READ_TOO.get(endpoint, ())))
    _check_bounded(body)
    pages = _pages(body) if endpoint == pb.ENDPOINT_OCR else 0
    annotated = any(body.get(name) is not None for name in _ANNOTATIONS)
    added_bytes = SAFE_PROMPT_BYTES if member(body, "safe_prompt", bool) else 0
    return pb.AuthorizeRequest(
        model=_text(body, "model"),
        endpoint=endpoint,
        estimate=pb.Estimate(
            input_bytes=len(content) + added_bytes,
            max_output_tokens=_count(body, "max_tokens", MAX_COUNT),
            choices=_count(body, "n", MAX_CHOICES),
            pages=0 if annotated else pages,
            annotated_pages=pages if annotated else 0,
            characters=len(_text(body, "input")) if endpoint == pb.ENDPOINT_SPEECH else 0,
            service_tier=_text(body, "service_tier"),
        ),
    )


def _check_bounded(body: dict[str, Any]) -> None:
    """Raise RefusedError if a message has a part whose bytes do not bound its tokens."""
    for message in member(body, "messages", list) or ():
        content = message.get("content") if isinstance(message, dict) else None
        for part in content if isinstance(content, list) else ():
            kind = part.get("type") if isinstance(part, dict) else None
            if not isinstance(kind, str) or kind not in _TEXT:
                raise RefusedError(
                    "INPUT_UNBOUNDED",
                    "messages has a part that is not text, and its tokens are unknown: authorize"
                    " it by sidecar.v1 with an estimate of your own, and send it around this"
                    " filter",
                    403,
                )


def _text(body: dict[str, Any], name: str) -> str:
    text: str = member(body, name, str) or ""
    if not text.isprintable():  # half a surrogate pair, for example
        raise InvalidFieldError(name, "has characters that cannot be printed")
    return text


def _count(body: dict[str, Any], name: str, most: int) -> int:
    """Return a count of at least 1; 0 if it is missing."""
    count: int | None = member(body, name, int)
    if count is not None and not 1 <= count <= most:
        raise InvalidFieldError(name, f"is not between 1 and {most}")
    return count or 0


def _pages(body: dict[str, Any]) -> int:
    pages: list[Any] | None = member(body, "pages", list)
    if not pages or not all(type(page) is int for page in pages):
        raise RefusedError(
            "PAGES_UNBOUNDED", "the number of pages is unknown: list them in pages", 400
        )
    return len(pages)
