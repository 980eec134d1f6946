"""AuthorizeStream: many concurrent requests of one client on one stream."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import NamedTuple

from mistral_spend.v1 import authorization_pb2 as pb

from sidecar.authorization.call_recorder import CallRecorder, current_recorder
from sidecar.contract import validation
from sidecar.domain.decisions import Decision
from sidecar.domain.errors import ErrorCode, SidecarError
from sidecar.identity.caller import Caller, UnauthenticatedError
from sidecar.ledger.change import Change
from sidecar.server.errors import code_of

MAX_IN_FLIGHT = 256
"""Requests of one stream without a response that is sent; the rest wait unread."""

UNREAD_SECONDS = 10.0
"""How long a response may wait for room in the client's window, which grows as the client reads."""

_CLOCK_SECONDS = 30
"""A stream looks at the clock this often, in case it is set."""


class Deciding(NamedTuple):
    """A request that is being decided, and what makes its response of the decision."""

    change: Change[Decision]
    respond: Callable[[Decision], Awaitable[pb.AuthorizeResponse]]

    async def response(self) -> pb.AuthorizeResponse:
        """Return the response, once the decision is on disk."""
        return await self.respond(await self.change)


Decide = Callable[[pb.AuthorizeRequest], Deciding]
"""Validates one request, and begins to decide it."""


class _InFlight(NamedTuple):
    """A request of a stream that has no response yet."""

    about: str
    recorder: CallRecorder
    deciding: Deciding


class ResponsesUnreadError(SidecarError):
    """The client did not read its responses: it may send the requests again, with their ids."""

    code, reason = ErrorCode.UNAVAILABLE, "RESPONSES_UNREAD"
    text = "the responses were not read in time"


class StreamIdleError(SidecarError):
    """The stream did nothing, and there was no other place for a new one: open it again."""

    code, reason = ErrorCode.UNAVAILABLE, "STREAM_IDLE"
    text = "another stream needed the place of this one, which was idle"


class Stream:
    """The responses to one client's stream of requests, in the order of these.

    What has arrived is decided in one group, and no request has a task of its own: one task reads
    and begins, one responds.
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
        self._decide = decide
        self._requests = requests
        self._stopping = stopping
        self._recorder = recorder
        self._leave = leave
        self._is_unread = False
        self._in_flight: asyncio.Queue[_InFlight | None] = asyncio.Queue()
        self._responses: asyncio.Queue[pb.AuthorizeResponse | None] = asyncio.Queue()
        self._slots = asyncio.Semaphore(MAX_IN_FLIGHT)
        self._unanswered = 0
        self._failed = asyncio.Event()
        self._active_at_seconds = time.monotonic()
        self.failure: tuple[str, Exception] | None = None

    @property
    def owner(self) -> str:
        """Whom the caller has been proven to be; empty if that is not proven."""
        return self._caller.owner

    def idle_seconds(self) -> float:
        """Return for how long there has been no request, and no response to give."""
        if self._unanswered or self._is_sending or not self._responses.empty():
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
        reading, responding = (
            asyncio.create_task(self._read()),
            asyncio.create_task(self._respond()),
        )
        reasons = [asyncio.create_task(event.wait()) for event in (self._stopping, self._failed)]
        expiring = asyncio.create_task(self._expire())
        try:
            await asyncio.wait([reading, *reasons], return_when=asyncio.FIRST_COMPLETED)
            reading.cancel()
            await asyncio.gather(reading, return_exceptions=True)  # a client may disconnect
            self._in_flight.put_nowait(None)
            await responding
        finally:
            for task in (reading, responding, expiring, *reasons):
                task.cancel()
            self._responses.put_nowait(None)

    async def _read(self) -> None:
        number = 0
        async for encoded in self._requests:
            number += 1
            await self._slots.acquire()
            self._begin(number, encoded, await self._recorder())

    def _begin(self, number: int, encoded: bytes, recorder: CallRecorder) -> None:
        about = f"request {number} of the stream"
        current_recorder.set(recorder)
        try:
            request = validation.parse(pb.AuthorizeRequest, encoded)
            validation.check_request_id(request.request_id, required=True)
            about = f"request_id '{request.request_id}'"  # validated: short and printable
            deciding = self._decide(request)
        except Exception as error:
            self._fail(about, error)
            recorder.end(code_of(error))
        else:
            self._unanswered += 1
            self._in_flight.put_nowait(_InFlight(about, recorder, deciding))

    async def _respond(self) -> None:
        try:
            while (request := await self._in_flight.get()) is not None:
                await self._respond_to(request)
        except asyncio.CancelledError:  # the client has disconnected
            await self._withdraw()
            raise

    async def _respond_to(self, request: _InFlight) -> None:
        code = "CANCELLED"
        try:
            response = await request.deciding.response()
        except Exception as error:
            self._fail(request.about, error)
            code = code_of(error)
        else:
            code = "OK"
            if not self._is_unread:
                self._responses.put_nowait(response)
        finally:
            self._unanswered -= 1
            request.recorder.end(code)

    async def _withdraw(self) -> None:
        """Cancel the requests in flight. Those that have begun are decided, and recorded."""
        while not self._in_flight.empty():
            if (request := self._in_flight.get_nowait()) is not None:
                request.deciding.change.cancel()
                await asyncio.gather(request.deciding.change, return_exceptions=True)
                request.recorder.end("CANCELLED")

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
