"""Requests that have not arrived whole: few at a time, and each for seconds only."""

import asyncio
import contextlib
from collections.abc import Callable

import grpc

from sidecar.domain.errors import ErrorCode, SidecarError
from sidecar.server.errors import Context, fail

MAX_UNFINISHED_BYTES = 33_554_432
MIN_UNFINISHED = 64
"""Also if these are more bytes: the calls of one connection may all begin at once."""
READ_SECONDS = 5.0
"""From a call's headers to the end of its request."""
_CANCEL_SECONDS = 0.5
"""gRPC cancels a call that has failed in this time."""


class RequestUnfinishedError(SidecarError):
    """A request did not arrive whole: the client may send it again."""

    code, reason = ErrorCode.UNAVAILABLE, "REQUEST_UNFINISHED"
    text = "the request did not arrive whole in time"


class UnfinishedRequests:
    """Reads the requests of a server's unary calls, and refuses the calls that take too long.

    gRPC lets a peer send a whole message as soon as it is read. So only a read takes memory,
    beyond the small window of each call, and reads are bounded here.
    """

    def __init__(
        self, max_request_bytes: int, cancelled: Callable[[str], object] = lambda _peer: None
    ) -> None:
        """Read as many at a time as their sizes allow: 128 of 256 KiB.

        One more ends the oldest, so that slow callers keep no others out. Calls `cancelled` with
        the peer of each call that ends while its request is read.
        """
        self._cancelled = cancelled
        self._max_unfinished = max(MIN_UNFINISHED, MAX_UNFINISHED_BYTES // max_request_bytes)
        self._until: dict[Context, float] = {}  # the oldest first
        self._timer: asyncio.TimerHandle | None = None
        """For the oldest; one for all, since hardly any request comes late."""
        self._refusing: dict[Context, asyncio.Task[None]] = {}

    async def read(self, context: Context) -> bytes:
        """Return the request of a call. Raises RequestUnfinishedError, or ends the call."""
        if len(self._until) >= self._max_unfinished:
            self._end(next(iter(self._until)))
        self._until[context] = asyncio.get_running_loop().time() + READ_SECONDS
        if self._timer is None:
            self._wait()
        try:
            encoded = await context.read()
        except asyncio.CancelledError:
            self._cancelled(context.peer())
            raise
        finally:
            self._until.pop(context, None)
        if refusing := self._refusing.get(context):  # it came too late
            await refusing
            encoded = await context.read()  # raises AbortError
        if isinstance(encoded, bytes):
            return encoded
        await asyncio.sleep(_CANCEL_SECONDS)
        raise RequestUnfinishedError

    def _wait(self) -> None:
        """Set the timer for the oldest, if there is one."""
        self._timer = None
        if self._until:
            until = next(iter(self._until.values()))
            self._timer = asyncio.get_running_loop().call_at(until, self._end_late)

    def _end_late(self) -> None:
        now = asyncio.get_running_loop().time()
        for context in [context for context, until in self._until.items() if until <= now]:
            self._end(context)
        self._wait()

    def _end(self, context: Context) -> None:
        """Refuse a call whose request is being read.

        The read is not cancelled but ends with the call: gRPC would not free its message.
        """
        del self._until[context]
        self._refusing[context] = asyncio.create_task(self._refuse(context))

    async def _refuse(self, context: Context) -> None:
        try:
            # The client may have gone.
            with contextlib.suppress(grpc.aio.AbortError, grpc.aio.InternalError):
                await fail(context, RequestUnfinishedError())
        finally:
            del self._refusing[context]
