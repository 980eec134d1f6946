"""Validation of requests: refuses malformed ones, by field, before anything else."""

import re
from collections.abc import Iterable, Mapping
from typing import TypeVar

from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import DecodeError, Message
from mistral_spend.v1 import authorization_pb2 as pb

from sidecar.domain.bounds import (
    MAX_CHOICES,
    MAX_ID_BYTES,
    MAX_LABEL_KEY_BYTES,
    MAX_LABEL_VALUE_BYTES,
    MAX_LABELS,
)
from sidecar.domain.errors import ErrorCode, SidecarError
from sidecar.domain.texts import is_visible
from sidecar.domain.usage import (
    MAX_COUNT,
    MAX_TOOL_NAME_BYTES,
    MAX_TOOLS,
    Endpoint,
    UsageReport,
    tool_calls_of,
)
from sidecar.domain.usage_json import parse_usage_json

MIN_HOLD_TTL_SECONDS = 1
MAX_HOLD_TTL_SECONDS = 86_400

Request = TypeVar("Request", bound=Message)

_PAGE_TOKEN = re.compile(r"(?:(\d{1,18})\.(\d{1,18}))?", re.ASCII)

_LABELS = "principal.labels"
_ENDPOINTS = {number: name.removeprefix("ENDPOINT_") for name, number in pb.Endpoint.items()}
"""The names of endpoints, by the contract's number."""
_INPUT = ("input_tokens", "input_bytes")
_NEEDED = {
    "CHAT": _INPUT,
    "FIM": _INPUT,
    "EMBEDDINGS": _INPUT,
    "MODERATION": _INPUT,
    "OCR": ("pages", "annotated_pages"),
    "TRANSCRIPTION": ("audio_seconds",),
    "SPEECH": ("characters",),
    "REALTIME": ("audio_seconds",),
}
"""For each endpoint, the counts of which its estimate needs at least one."""
_COUNTS = (*_INPUT, "max_output_tokens", "pages", "audio_seconds", "characters", "annotated_pages")
_USED = (
    "input_tokens", "output_tokens", "cached_input_tokens", "pages", "audio_seconds", "characters",
    "annotated_pages",
)  # fmt: skip


class InvalidFieldError(SidecarError):
    """A field of a request is malformed; the path of the field goes into the error's details."""

    code, reason = ErrorCode.INVALID, "INVALID_FIELD"

    def __init__(self, field: str, problem: str) -> None:
        """Keep the field's path, as in `principal.id`, and the problem."""
        super().__init__(f"{field} {problem}")
        self.field = field


def parse(request_type: type[Request], encoded: bytes) -> Request:
    """Decode a request. Raises InvalidFieldError if that fails."""
    try:
        return request_type.FromString(encoded)
    except DecodeError:
        raise InvalidFieldError(
            "request", f"is not a {request_type.DESCRIPTOR.full_name}"
        ) from None


def check_request_id(request_id: str, *, required: bool = False) -> None:
    """Raise InvalidFieldError for an id that is malformed, or required and missing."""
    _check_text("request_id", request_id, required=required)


def check_authorize(request: pb.AuthorizeRequest, default: Endpoint = Endpoint.CHAT) -> None:
    """Raise InvalidFieldError for the first malformed field.

    `default` is the endpoint of a request that sets none.
    """
    check_request_id(request.request_id)
    _check_principal(request)
    _check_text("model", request.model, required=True)
    named = _ENDPOINTS.get(request.endpoint)
    if named is None:
        raise InvalidFieldError("endpoint", "is not a known endpoint")
    _check_estimate(named if request.endpoint else default, request.estimate)
    if request.HasField("hold_ttl"):
        _check_hold_ttl(request.hold_ttl)


def check_settle(request: pb.SettleRequest) -> UsageReport:
    """Return the usage that a request reports. Raises InvalidFieldError."""
    _check_text("hold_id", request.hold_id, required=True)
    _check_text("response_model", request.response_model)
    if request.outcome not in pb.Outcome.values():
        raise InvalidFieldError("outcome", "is not a known outcome")
    if request.WhichOneof("reported") == "usage_json":
        try:
            return parse_usage_json(request.usage_json)
        except ValueError as error:
            raise InvalidFieldError("usage_json", str(error)) from None
    return _usage_report(request.usage)


def check_release(request: pb.ReleaseRequest) -> None:
    """Raise InvalidFieldError for the first malformed field."""
    _check_text("hold_id", request.hold_id, required=True)
    _check_text("reason", request.reason)


def check_page(page_size: int, page_token: str, most: int) -> tuple[int, int]:
    """Return the position that a page starts after. Raises InvalidFieldError."""
    if not 0 <= page_size <= most:
        raise InvalidFieldError("page_size", f"is not between 0 and {most}")
    found = _PAGE_TOKEN.fullmatch(page_token)
    if found is None:
        raise InvalidFieldError("page_token", "was not issued by this server")
    return int(found[1] or -1), int(found[2] or -1)


def check_signed(texts: Iterable[tuple[str, str]], most: int = MAX_ID_BYTES) -> None:
    """Raise InvalidFieldError for the first (field, text) that is missing or malformed."""
    for field, text in texts:
        _check_text(field, text, required=True, most=most)


def check_get_budgets(request: pb.GetBudgetsRequest) -> None:
    """Raise InvalidFieldError for the first malformed field."""
    _check_principal(request)
    _check_text("model", request.model)


def _check_principal(request: pb.AuthorizeRequest | pb.GetBudgetsRequest) -> None:
    if not request.HasField("principal"):
        raise InvalidFieldError("principal", "is missing")
    principal = request.principal
    _check_name("principal.id", principal.id, required=True)
    _check_name("principal.role", principal.role, required=True)
    _check_name("principal.workspace", principal.workspace, required=True)
    _check_name("principal.key_id", principal.key_id, required=False)
    if len(principal.labels) > MAX_LABELS:
        raise InvalidFieldError("principal.labels", f"has more than {MAX_LABELS} entries")
    for key, value in principal.labels.items():
        _check_text(_LABELS, key, required=True, most=MAX_LABEL_KEY_BYTES, part="has a key that ")
        _check_text(_LABELS, value, most=MAX_LABEL_VALUE_BYTES, part="has a value that ")


def _check_estimate(endpoint: str, estimate: pb.Estimate) -> None:
    _check_counts("estimate", ((field, getattr(estimate, field)) for field in _COUNTS))
    _check_tool_calls("estimate.tool_calls", estimate.tool_calls)
    if not 0 <= estimate.choices <= MAX_CHOICES:
        raise InvalidFieldError("estimate.choices", f"is not between 0 and {MAX_CHOICES}")
    _check_text("estimate.service_tier", estimate.service_tier)
    _check_text("estimate.region", estimate.region)
    needed = _NEEDED[endpoint]
    if not any(getattr(estimate, field) for field in needed):
        others = "".join(f"or estimate.{field} " for field in needed[1:])
        raise InvalidFieldError(f"estimate.{needed[0]}", f"{others}is needed for {endpoint}")


def _usage_report(usage: pb.Usage) -> UsageReport:
    counts = {field: getattr(usage, field) for field in _USED if usage.HasField(field)}
    _check_counts("usage", counts.items())
    _check_text("usage.service_tier", usage.service_tier)
    _check_tool_calls("usage.tool_calls", usage.tool_calls)
    return UsageReport(
        **counts,
        service_tier=usage.service_tier or None,
        tool_calls=tool_calls_of(usage.tool_calls) if usage.tool_calls else None,
    )


def _check_counts(message: str, counts: Iterable[tuple[str, int]]) -> None:
    for field, count in counts:
        if not 0 <= count <= MAX_COUNT:
            raise InvalidFieldError(f"{message}.{field}", f"is not between 0 and {MAX_COUNT}")


def _check_tool_calls(field: str, calls: Mapping[str, int]) -> None:
    if len(calls) > MAX_TOOLS:
        raise InvalidFieldError(field, f"has more than {MAX_TOOLS} entries")
    for name, count in calls.items():
        _check_text(field, name, required=True, most=MAX_TOOL_NAME_BYTES, part="has a name that ")
        if not 0 <= count <= MAX_COUNT:
            raise InvalidFieldError(field, f"has a count that is not between 0 and {MAX_COUNT}")


def _check_name(field: str, text: str, *, required: bool) -> None:
    """Check a text that people tell principals apart by."""
    _check_text(field, text, required=required)
    if not is_visible(text):
        raise InvalidFieldError(field, "has characters that cannot be seen")


def _check_text(
    field: str, text: str, *, required: bool = False, most: int = MAX_ID_BYTES, part: str = ""
) -> None:
    """Check a text; `part` begins the message for a part of a field: "has a key that "."""
    if required and not text.strip():
        raise InvalidFieldError(field, f"{part}is missing")
    if len(text) > most or not (text.isascii() or len(text.encode()) <= most):
        raise InvalidFieldError(field, f"{part}is longer than {most} bytes")
    if not text.isprintable():
        raise InvalidFieldError(field, f"{part}has characters that cannot be printed")


def _check_hold_ttl(ttl: Duration) -> None:
    seconds, nanos = ttl.seconds, ttl.nanos
    if (nanos and not 0 <= nanos < 10**9) or not (
        seconds >= MIN_HOLD_TTL_SECONDS and seconds + nanos / 10**9 <= MAX_HOLD_TTL_SECONDS
    ):
        raise InvalidFieldError(
            "hold_ttl", f"is not from {MIN_HOLD_TTL_SECONDS} to {MAX_HOLD_TTL_SECONDS} seconds"
        )
