"""A call to Mistral's HTTP API, translated to Authorize: path, headers, body."""

from collections.abc import Mapping
from typing import Any

from mistral_spend.errors import Malformed
from mistral_spend.request_reader import RequestSize, read_request
from mistral_spend.v1 import authorization_pb2 as pb

from sidecar.contract.validation import InvalidFieldError
from sidecar.server.errors import RefusedError
from sidecar.server.strict_json import member, read_object

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

MAX_TOKENS_BYTES = 64
"""An upper bound of what a body grows by when max_tokens is added."""

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


def authorize_request(
    endpoint: pb.Endpoint, content: bytes, attachment_tokens: int = 0
) -> pb.AuthorizeRequest:
    """Translate a body into a request without a principal.

    An image, audio or a document in messages is held as `attachment_tokens`; with 0 it is
    refused. `max_output_tokens` is 0 if the body has no max_tokens.
    Raises RefusedError or InvalidFieldError.
    """
    body = read_object(content)
    try:
        size = read_request(endpoint, body)
    except Malformed as error:
        raise InvalidFieldError(error.field, error.problem) from None
    _check_bounded(size, attachment_tokens)
    if endpoint == pb.ENDPOINT_OCR and not size.pages:
        raise RefusedError(
            "PAGES_UNBOUNDED", "the number of pages is unknown: list them in pages", 400
        )
    return pb.AuthorizeRequest(
        model=_name(body, "model"),
        endpoint=endpoint,
        estimate=pb.Estimate(
            input_bytes=size.input_bytes + size.attachments * attachment_tokens,
            max_output_tokens=size.max_output_tokens,
            choices=size.choices,
            pages=0 if size.is_annotated else size.pages,
            annotated_pages=size.pages if size.is_annotated else 0,
            characters=size.characters,
            service_tier=_name(body, "service_tier"),
        ),
    )


def _check_bounded(size: RequestSize, attachment_tokens: int) -> None:
    """Raise RefusedError if the body has a part whose bytes do not bound its tokens."""
    places = [*size.tools, *size.unknown]
    if size.attachments and not attachment_tokens:
        places.append("messages")
    if places:
        raise RefusedError(
            "INPUT_UNBOUNDED",
            f"{places[0]} has a part that is not text, or is not known here, and its tokens are"
            " unknown: authorize it by sidecar.v1 with an estimate of your own, and send it around"
            " this filter",
            403,
        )


def _name(body: dict[str, Any], field: str) -> str:
    text: str = member(body, field, str) or ""
    if not text.isprintable():  # half a surrogate pair, for example
        raise InvalidFieldError(field, "has characters that cannot be printed")
    return text
