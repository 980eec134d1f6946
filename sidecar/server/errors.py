"""Errors of RPCs as gRPC statuses with a google.rpc.ErrorInfo, and as HTTP statuses."""

import logging
from math import ceil
from typing import Any, NamedTuple, NoReturn

import grpc
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from google.rpc.error_details_pb2 import ErrorInfo, RetryInfo
from google.rpc.status_pb2 import Status
from grpc_status import rpc_status

from sidecar.domain.errors import ErrorCode, SidecarError

log = logging.getLogger(__name__)

DOMAIN = "sidecar.v1"

Context = grpc.aio.ServicerContext[Any, Any]

_STATUS = {
    ErrorCode.INVALID: (grpc.StatusCode.INVALID_ARGUMENT, 400),
    ErrorCode.UNAUTHENTICATED: (grpc.StatusCode.UNAUTHENTICATED, 401),
    ErrorCode.PERMISSION_DENIED: (grpc.StatusCode.PERMISSION_DENIED, 403),
    ErrorCode.NOT_FOUND: (grpc.StatusCode.NOT_FOUND, 404),
    ErrorCode.EXISTS: (grpc.StatusCode.ALREADY_EXISTS, 409),
    ErrorCode.PRECONDITION: (grpc.StatusCode.FAILED_PRECONDITION, 400),
    ErrorCode.EXHAUSTED: (grpc.StatusCode.RESOURCE_EXHAUSTED, 429),
    ErrorCode.UNAVAILABLE: (grpc.StatusCode.UNAVAILABLE, 503),
}


class TooManyStreamsError(SidecarError):
    """The maximum of concurrent streams is reached: the client has to share one, not to retry."""

    code, reason = ErrorCode.EXHAUSTED, "TOO_MANY_STREAMS"
    text = "too many streams are open; one carries any number of requests"


class StoppingError(SidecarError):
    """The sidecar is stopping and takes no new calls: the client may retry after the restart."""

    code, reason = ErrorCode.UNAVAILABLE, "STOPPING"
    text = "the sidecar is stopping"


class InternalError(SidecarError):
    """Replaces an unexpected error, whose text may contain values of a request."""

    code, reason = ErrorCode.UNAVAILABLE, "INTERNAL"
    text = "the sidecar cannot decide"


class RefusedError(SidecarError):
    """A request of Envoy or AuthZEN is refused before it is evaluated.

    It has an HTTP status of its own, which other errors get from their code.
    """

    code = ErrorCode.INVALID

    def __init__(self, reason: str, text: str, http_status: int = 400) -> None:
        """Keep the reason, such as BODY_TRUNCATED, the message, and the HTTP status."""
        super().__init__(text)
        self.reason = reason
        self.http_status = http_status


class HttpError(NamedTuple):
    """An error as an HTTP response."""

    status: int
    reason: str
    message: str
    headers: dict[str, str]


async def fail(context: Context, error: Exception, about: str = "") -> NoReturn:
    """End the call with the status and the details of an error.

    `about` says which request of a stream it is. An unexpected error is logged, and
    answered, without its text.
    """
    if isinstance(error, grpc.aio.AbortError):
        raise error
    _log_unexpected(error)
    known, code = _known(error), _grpc_status(error)
    message = f"{about}: {known.message}" if about else known.message
    metadata = {"field": known.field} if known.field else {}
    details = [_packed(ErrorInfo(reason=known.reason, domain=DOMAIN, metadata=metadata))]
    if known.retry_after_seconds is not None:
        wait = Duration()
        wait.FromNanoseconds(int(known.retry_after_seconds * 10**9))
        details.append(_packed(RetryInfo(retry_delay=wait)))
    status = rpc_status.to_status(Status(code=code.value[0], message=message, details=details))
    await context.abort(code, message, trailing_metadata=status.trailing_metadata)
    raise AssertionError("abort does not return")


def as_http(error: Exception) -> HttpError:
    """Return an error as an HTTP error with the same text as `fail`."""
    _log_unexpected(error)
    known = _known(error)
    status = known.http_status if isinstance(known, RefusedError) else _STATUS[known.code][1]
    seconds = known.retry_after_seconds
    headers = {} if seconds is None else {"retry-after": retry_after(seconds)}
    return HttpError(status, known.reason, known.message, headers)


def code_of(error: Exception) -> str:
    """Return the name of an error's gRPC status."""
    return _grpc_status(error).name


def retry_after(seconds: float) -> str:
    """Return a time for the header Retry-After, in whole seconds, rounded up."""
    return str(max(1, ceil(seconds)))


def _known(error: Exception) -> SidecarError:
    return error if isinstance(error, SidecarError) else InternalError()


def _grpc_status(error: Exception) -> grpc.StatusCode:
    return _STATUS[_known(error).code][0]


def _packed(detail: Message) -> AnyMessage:
    packed = AnyMessage()
    packed.Pack(detail)
    return packed


def _log_unexpected(error: Exception) -> None:
    if not isinstance(error, SidecarError):
        # The kind and the place alone: the text may hold what a caller sent.
        log.error("unexpected %s", type(error).__name__, exc_info=_without_text(error))


def _without_text(error: Exception) -> Exception:
    return RuntimeError(type(error).__name__).with_traceback(error.__traceback__)


_OF_CLIENTS = frozenset({"ExecuteBatchError", "UnicodeDecodeError"})
"""The errors, of which one has no public name, of clients that go while they are answered, and of
headers that are no text, which may be secrets."""


def _is_of_the_server(record: logging.LogRecord) -> bool:
    """Return False for what gRPC logs as an error, with a traceback, and is what a client does."""
    kind = record.exc_info[0] if record.exc_info else None
    return kind is None or kind.__name__ not in _OF_CLIENTS


logging.getLogger("grpc._cython.cygrpc").addFilter(_is_of_the_server)


def serialize(message: Message) -> bytes:
    """Write a response's bytes."""
    return message.SerializeToString()
