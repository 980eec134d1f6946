"""gRPC errors: few, each with one google.rpc.ErrorInfo that programs can read."""

import logging
from typing import Any, NoReturn

import grpc
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from google.rpc.error_details_pb2 import ErrorInfo, RetryInfo
from google.rpc.status_pb2 import Status
from grpc_status import rpc_status

from sidecar.contract.validation import InvalidFieldError
from sidecar.identity.caller import (
    KeysUnavailableError,
    PrincipalMismatchError,
    UnauthenticatedError,
)
from sidecar.identity.rate import RateLimitedError
from sidecar.ledger.protocol import (
    HoldUnknownError,
    LedgerUnavailableError,
    NotAdjustableError,
    RequestIdReusedError,
)

log = logging.getLogger(__name__)

DOMAIN = "sidecar.v1"

Context = grpc.aio.ServicerContext[Any, Any]


class TooManyStreamsError(Exception):
    """As many streams are open as may be at a time."""

    def __init__(self) -> None:
        """Say the way out."""
        super().__init__("too many streams are open; one carries any number of requests")


class StoppingError(Exception):
    """The sidecar is about to stop, and takes no new calls."""


Expected = (
    PrincipalMismatchError,
    InvalidFieldError,
    HoldUnknownError,
    KeysUnavailableError,
    LedgerUnavailableError,
    NotAdjustableError,
    UnauthenticatedError,
    RequestIdReusedError,
    StoppingError,
    RateLimitedError,
    TooManyStreamsError,
)
"""What a call may raise and a client can do something about."""


async def abort(context: Context, error: Exception, about: str = "") -> NoReturn:
    """End the call with the status and the details that stand for an error.

    `about` says which request of a stream it is. What is not expected is
    answered without its text, which may hold anything.
    """
    code, reason, message, metadata = _describe(error)
    message = f"{about}: {message}" if about else message
    details = [_packed(ErrorInfo(reason=reason, domain=DOMAIN, metadata=metadata))]
    if isinstance(error, RateLimitedError):
        wait = Duration()
        wait.FromNanoseconds(int(error.retry_after_seconds * 10**9))
        details.append(_packed(RetryInfo(retry_delay=wait)))
    status = rpc_status.to_status(Status(code=code.value[0], message=message, details=details))
    await context.abort(code, message, trailing_metadata=status.trailing_metadata)
    raise AssertionError("abort does not return")


def _packed(detail: Message) -> AnyMessage:
    packed = AnyMessage()
    packed.Pack(detail)
    return packed


def code_of(error: Exception) -> str:
    """Return the name of the status that stands for an error."""
    return _describe(error)[0].name


def _describe(error: Exception) -> tuple[grpc.StatusCode, str, str, dict[str, str]]:
    """Return status, reason, message and metadata; each message is free of values."""
    code, message, metadata = grpc.StatusCode.UNAVAILABLE, str(error), dict[str, str]()
    match error:
        case InvalidFieldError():
            code, reason = grpc.StatusCode.INVALID_ARGUMENT, "INVALID_FIELD"
            metadata = {"field": error.field}
        case UnauthenticatedError():
            code, reason = grpc.StatusCode.UNAUTHENTICATED, error.reason
        case KeysUnavailableError():
            reason = "JWKS_UNAVAILABLE"
        case PrincipalMismatchError():
            code, reason = grpc.StatusCode.PERMISSION_DENIED, "PRINCIPAL_CONTRADICTED"
            metadata = {"field": f"principal.{error.fields[0]}"}
        case RateLimitedError() | TooManyStreamsError():
            code = grpc.StatusCode.RESOURCE_EXHAUSTED
            fast = isinstance(error, RateLimitedError)
            reason = "CALLER_TOO_FAST" if fast else "TOO_MANY_STREAMS"
        case RequestIdReusedError():
            code, reason = grpc.StatusCode.ALREADY_EXISTS, "REQUEST_ID_REUSED"
            message = "request_id was used before for another request; each call needs its own"
            metadata = {"field": "request_id"}
        case HoldUnknownError():
            code, reason = grpc.StatusCode.NOT_FOUND, "HOLD_UNKNOWN"
            message = "no hold with this hold_id; it may have been pruned"
            metadata = {"field": "hold_id"}
        case NotAdjustableError():
            code, reason = grpc.StatusCode.FAILED_PRECONDITION, "NOT_ADJUSTABLE"
        case LedgerUnavailableError():
            reason = "LEDGER_UNAVAILABLE"
            message = f"the ledger cannot be used now, and nothing was changed: {error}"
        case _:
            stopping = isinstance(error, StoppingError)
            reason = "STOPPING" if stopping else "INTERNAL"
            message = f"the sidecar {'is stopping' if stopping else 'cannot decide'}"
    return code, reason, message, metadata


def as_http(error: Exception) -> tuple[int, str, str]:
    """Return an error's HTTP status, its reason and its text, as `fail` would tell them."""
    _log_unexpected(error)
    code, reason, message, _ = _describe(error)
    return _HTTP_STATUS.get(code, 503), reason, message


_HTTP_STATUS = {
    grpc.StatusCode.INVALID_ARGUMENT: 400,
    grpc.StatusCode.UNAUTHENTICATED: 401,
    grpc.StatusCode.PERMISSION_DENIED: 403,
    grpc.StatusCode.ALREADY_EXISTS: 409,
    grpc.StatusCode.RESOURCE_EXHAUSTED: 429,
}


async def fail(context: Context, error: Exception, about: str = "") -> Message:
    """End the call as `abort` does; what is not expected is logged, without its text."""
    if isinstance(error, grpc.aio.AbortError):
        raise error
    _log_unexpected(error)
    await abort(context, error, about)


def _log_unexpected(error: Exception) -> None:
    if not isinstance(error, Expected):
        # The kind and the place alone: the text may hold what a caller sent.
        log.error("unexpected %s", type(error).__name__, exc_info=_without_text(error))


def _without_text(error: Exception) -> Exception:
    return RuntimeError(type(error).__name__).with_traceback(error.__traceback__)


def serialize(message: Message) -> bytes:
    """Write an answer's bytes."""
    return message.SerializeToString()
