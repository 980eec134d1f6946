"""The handler of a unary RPC: refuses while stopping, identifies, reads, answers, records."""

from collections.abc import Awaitable, Callable, Mapping

import grpc
from google.protobuf.message import Message

from sidecar.authorization.call_recorder import (
    NULL_RECORDER,
    NULL_RECORDERS,
    CallRecorders,
    current_recorder,
)
from sidecar.contract.validation import Request, parse
from sidecar.identity.caller import Authenticator, Caller
from sidecar.server.credentials import GrpcCredentials
from sidecar.server.errors import Context, StoppingError, code_of, fail, serialize
from sidecar.server.method_server import Handler
from sidecar.server.unfinished import UnfinishedRequests

_TRACE = ("traceparent", "tracestate")


def unary_rpc(
    method: str,
    request_type: type[Request],
    answer: Callable[[Request, Caller], Awaitable[Message]],
    *,
    authenticator: Authenticator,
    is_stopping: Callable[[], bool],
    unfinished: UnfinishedRequests,
    recorders: CallRecorders = NULL_RECORDERS,
) -> Handler:
    """Return the handler of an RPC, which takes bytes.

    gRPC's own parser would answer bytes that are no message with an internal error. And for
    gRPC the request is a stream: so it is read only when the caller is known.
    """

    async def call(_requests: object, context: Context) -> Message:
        recorder = NULL_RECORDER
        if recorders is not NULL_RECORDERS:
            recorder = await recorders.begin(method, trace_of(context))
            current_recorder.set(recorder)
        code = "CANCELLED"  # stays if the client hangs up: no response, no error
        try:
            if is_stopping():
                raise StoppingError  # noqa: TRY301 - answered below, as all errors are
            caller = await authenticator.caller(GrpcCredentials(context))
            message = await answer(parse(request_type, await unfinished.read(context)), caller)
            code = "OK"
        except Exception as error:
            code = code_of(error)
            return await fail(context, error)
        else:
            return message
        finally:
            recorder.end(code)

    return grpc.stream_unary_rpc_method_handler(call, response_serializer=serialize)


def trace_of(context: Context) -> Mapping[str, str]:
    """Return the headers that say which trace a call belongs to, if any."""
    return {
        key: value
        for key, value in context.invocation_metadata() or ()
        if key in _TRACE and isinstance(value, str)
    }
