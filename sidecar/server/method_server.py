"""A gRPC server of named methods, which refuses all others, however they are called.

grpc.aio reads the path of a method that is not registered as UTF-8 in the task that accepts all
calls. Other bytes end that task, and with it the server (in 1.85.1). So here every
method is registered, and others are refused before their path is read.
"""

import asyncio
import contextlib
from collections.abc import Sequence
from typing import Any, TypeAlias

import grpc
from grpc._cython import cygrpc
from grpc.aio import _server

Handler: TypeAlias = "grpc.RpcMethodHandler[Any, Any]"
Methods = dict[str, Handler]
"""The handlers of a service, by the names of its methods."""


class MethodServer(_server.Server):
    """Serves the methods that `add_registered_method_handlers` names, and no others."""

    def __init__(self, options: Sequence[tuple[str, int]], max_calls: int | None = None) -> None:
        """Take gRPC's options. Concurrent calls above `max_calls` fail with RESOURCE_EXHAUSTED.

        It does what its base does, for a server of our own, as there is no public way to give one.
        """
        self._loop = cygrpc.get_working_loop()
        self._server = _RegisteredCalls(self._loop, None, (), (), tuple(options), max_calls)

    def is_running(self) -> bool:
        """Whether calls are accepted; gRPC ends a server by itself if accepting one fails."""
        return bool(self._server.is_running())


class _RegisteredCalls(cygrpc.AioServer):  # type: ignore[misc] # gRPC's core is untyped
    """Hands calls of registered methods on to gRPC's task, and refuses the others itself."""

    async def _request_call(self) -> None:
        """Refuse each call that is of no registered method; never return one."""
        refusing = set[asyncio.Task[None]]()  # the loop itself would not keep them
        while True:
            task = asyncio.create_task(_refuse(await super()._request_call()))
            refusing.add(task)
            task.add_done_callback(refusing.discard)


async def _refuse(call: Any) -> None:
    """End a call with UNIMPLEMENTED."""
    context = cygrpc._ServicerContext(call, None, None, asyncio.get_running_loop())  # noqa: SLF001
    # The error that ends it here, or the client has gone.
    with contextlib.suppress(grpc.aio.AbortError, grpc.aio.InternalError):
        await context.abort(grpc.StatusCode.UNIMPLEMENTED, "this sidecar has no such method")
