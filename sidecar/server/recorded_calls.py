"""Letting an observer watch each call of an RPC."""

from collections.abc import Awaitable, Callable, Mapping

from google.protobuf.message import Message

from sidecar.authorization.call_recorder import NULL_RECORDERS, CallRecorders, current_recorder
from sidecar.server.errors import Context

Answer = Callable[[bytes, Context], Awaitable[Message]]

_TRACE = ("traceparent", "tracestate")


def recorded(recorders: CallRecorders, method: str, answer: Answer) -> Answer:
    """Return what answers an RPC, watched from its first byte to its answer."""
    if recorders is NULL_RECORDERS:
        return answer

    async def call(encoded: bytes, context: Context) -> Message:
        recorder = await recorders.begin(method, trace_of(context))
        current_recorder.set(recorder)
        code = "CANCELLED"  # unless it comes to an end of its own
        try:
            message = await answer(encoded, context)
            code = "OK"
        except Exception:
            ended = context.code()
            code = ended.name if ended else "UNKNOWN"
            raise
        else:
            return message
        finally:
            recorder.end(code)

    return call


def trace_of(context: Context) -> Mapping[str, str]:
    """Return the headers that say which trace a call belongs to, if any."""
    return {
        key: value
        for key, value in context.invocation_metadata() or ()
        if key in _TRACE and isinstance(value, str)
    }
