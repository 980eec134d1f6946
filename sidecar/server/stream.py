"""AuthorizeStream: many concurrent requests of one client on one stream."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable

from mistral_spend.v1 import authorization_pb2 as pb

from sidecar.authorization.call_recorder import CallRecorder, current_recorder
from sidecar.contract import validation
from sidecar.domain.errors import ErrorCode, SidecarError
from sidecar.identity.caller import Caller, UnauthenticatedError
from sidecar.server.errors import code_of

MAX_IN_FLIGHT = 256
"""Requests of one stream that are decided concurrently; the rest wait unread."""

UNREAD_SECONDS = 10.0
"""How long a response may wait for room in the client's window, which grows as the client reads."""

_CLOCK_SECONDS = 30
"""A stream looks at the clock this often, in case it is set."""

Decide = Callable[[pb.AuthorizeRequest], Awaitable[pb.AuthorizeResponse]]
"""Validates and decides one request."""


class ResponsesUnreadError(SidecarError):
    """The client did not read its responses: it may send the requests again, with their ids."""

    code, reason = ErrorCode.UNAVAILABLE, "RESPONSES_UNREAD"
    text = "the responses were not read in time"


class StreamIdleError(SidecarError):
    """The stream did nothing, and there was no other place for a new one: open it again."""

    code, reason = ErrorCode.UNAVAILABLE, "STREAM_IDLE"
    text = "another stream needed the place of this one, which was idle"


class Stream:
    """The responses to one client's stream of requests, in any order.

    It ends with the requests, with the server, with the caller's proof, with the first
    request that fails, when the client does not read, or when it is idle and its place is needed.
    Nothing more is read then, but requests in flight still get a response, so that the
    client learns of every hold, if it reads. `failure` is what failed, such as a request, and
    its error.
    """

    def __init__(
        self,
        caller: Caller,
        decide: Decide,
        requests: AsyncIterator[bytes],
        stopping: asyncio.Event,
        recorder: Callable[[], Awaitable[CallRecorder]],
        leave: Callable[[], object],
    ) -> None:
        """Decide a caller's requests until `stopping` is set, each with a recorder of its own.

        `leave` is called when it ends although the client may not read that: gRPC keeps the call
        until it does, or disconnects, but nothing more is kept or done for it.
        """
        self._caller = caller
        self._decide_one = decide
        self._requests = requests
        self._stopping = stopping
        self._recorder = recorder
        self._leave = leave
        self._is_unread = False
        self._responses: asyncio.Queue[pb.AuthorizeResponse | None] = asyncio.Queue()
        self._slots = asyncio.Semaphore(MAX_IN_FLIGHT)
        self._failed = asyncio.Event()
        self._deciding: set[asyncio.Task[None]] = set()
        self._is_sending = False
        self._active_at_seconds = time.monotonic()
        self.failure: tuple[str, Exception] | None = None

    @property
    def owner(self) -> str:
        """Whom the caller has been proven to be; empty if that is not proven."""
        return self._caller.owner

    def idle_seconds(self) -> float:
        """Return for how long there has been no request, and no response to give."""
        if self._deciding or self._is_sending or not self._responses.empty():
            return 0.0
        return time.monotonic() - self._active_at_seconds

    def end_idle(self) -> None:
        """End it, as it is idle and another needs its place."""
        self._fail("the stream", StreamIdleError())
        self._leave()

    async def responses(self) -> AsyncIterator[pb.AuthorizeResponse]:
        """Yield each response as it is ready."""
        work = asyncio.create_task(self._work())
        loop = asyncio.get_running_loop()
        try:
            while (response := await self._responses.get()) is not None:
                self._slots.release()  # a client that does not read gets no more requests decided
                timer = loop.call_later(UNREAD_SECONDS, self._end_unread)
                self._is_sending = True
                try:
                    yield response  # returns when gRPC has room for the next
                finally:
                    timer.cancel()
                self._is_sending = False
                self._active_at_seconds = time.monotonic()
            await work
        finally:
            work.cancel()

    def _end_unread(self) -> None:
        """Drop the responses, and end the stream, whose client may never read."""
        self._is_unread = True
        self._responses = asyncio.Queue()
        self._responses.put_nowait(None)
        self._fail("the stream", ResponsesUnreadError())
        self._leave()

    async def _work(self) -> None:
        """Read requests until the stream ends, then finish those in flight."""
        reading = asyncio.create_task(self._read())
        reasons = [asyncio.create_task(event.wait()) for event in (self._stopping, self._failed)]
        expiring = asyncio.create_task(self._expire())
        try:
            await asyncio.wait([reading, *reasons], return_when=asyncio.FIRST_COMPLETED)
            reading.cancel()
            await asyncio.gather(reading, return_exceptions=True)  # a client may disconnect
            await asyncio.gather(*self._deciding)
        finally:
            for task in (reading, expiring, *reasons):
                task.cancel()
            self._responses.put_nowait(None)

    async def _read(self) -> None:
        number = 0
        async for encoded in self._requests:
            number += 1
            await self._slots.acquire()
            task = asyncio.create_task(self._decide(number, encoded))
            self._deciding.add(task)
            task.add_done_callback(self._deciding.discard)

    async def _expire(self) -> None:
        """Fail once the caller's proof has expired, also if no request comes."""
        try:
            while True:
                now = time.time()
                self._caller.check_still_proven(now)
                await asyncio.sleep(min(self._caller.until - now, _CLOCK_SECONDS))
        except UnauthenticatedError as error:
            self._fail("the stream", error)

    def _fail(self, about: str, error: Exception) -> None:
        """End the stream; the first failure is the one that the client gets."""
        self.failure = self.failure or (about, error)
        self._failed.set()

    async def _decide(self, number: int, encoded: bytes) -> None:
        about, code = f"request {number} of the stream", "CANCELLED"
        recorder = await self._recorder()
        current_recorder.set(recorder)
        try:
            request = validation.parse(pb.AuthorizeRequest, encoded)
            validation.check_request_id(request.request_id, required=True)
            about = f"request_id '{request.request_id}'"  # validated: short and printable
            response = await self._decide_one(request)
        except Exception as error:
            self._fail(about, error)
            code = code_of(error)
        else:
            code = "OK"
            if not self._is_unread:
                self._responses.put_nowait(response)
        finally:
            recorder.end(code)
