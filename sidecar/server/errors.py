"""gRPC errors: few, each with one google.rpc.ErrorInfo that programs can read."""

from typing import Any, NoReturn

import grpc
from google.protobuf.any_pb2 import Any as AnyMessage
from google.rpc.error_details_pb2 import ErrorInfo
from google.rpc.status_pb2 import Status
from grpc_status import rpc_status

from sidecar.ledger.protocol import (
    HoldUnknownError,
    LedgerUnavailableError,
    RequestIdReusedError,
)
from sidecar.server.validation import InvalidFieldError

DOMAIN = "sidecar.v1"

Context = grpc.aio.ServicerContext[Any, Any]


class StoppingError(Exception):
    """The sidecar is about to stop, and takes no new calls."""


Expected = (
    InvalidFieldError,
    HoldUnknownError,
    LedgerUnavailableError,
    RequestIdReusedError,
    StoppingError,
)
"""What a call may raise and a client can do something about."""


async def abort(context: Context, error: Exception, about: str = "") -> NoReturn:
    """End the call with the status and the details that stand for an error.

    `about` says which request of a stream it is. What is not expected is
    answered without its text, which may hold anything.
    """
    code, reason, message, metadata = _describe(error)
    message = f"{about}: {message}" if about else message
    info = AnyMessage()
    info.Pack(ErrorInfo(reason=reason, domain=DOMAIN, metadata=metadata))
    status = rpc_status.to_status(Status(code=code.value[0], message=message, details=[info]))
    await context.abort(code, message, trailing_metadata=status.trailing_metadata)
    raise AssertionError("abort does not return")


def _describe(error: Exception) -> tuple[grpc.StatusCode, str, str, dict[str, str]]:
    match error:
        case InvalidFieldError():
            return (
                grpc.StatusCode.INVALID_ARGUMENT,
                "INVALID_FIELD",
                str(error),
                {"field": error.field},
            )
        case RequestIdReusedError():
            return (
                grpc.StatusCode.ALREADY_EXISTS,
                "REQUEST_ID_REUSED",
                "request_id was used before for another request; each call needs its own",
                {"field": "request_id"},
            )
        case HoldUnknownError():
            return (
                grpc.StatusCode.NOT_FOUND,
                "HOLD_UNKNOWN",
                "no hold with this hold_id; it may have been pruned",
                {"field": "hold_id"},
            )
        case LedgerUnavailableError():
            return (
                grpc.StatusCode.UNAVAILABLE,
                "LEDGER_UNAVAILABLE",
                f"the ledger cannot be used now, and nothing was changed: {error}",
                {},
            )
        case StoppingError():
            return grpc.StatusCode.UNAVAILABLE, "STOPPING", "the sidecar is stopping", {}
    return grpc.StatusCode.UNAVAILABLE, "INTERNAL", "the sidecar cannot decide", {}
