"""AuthorizeStream: many concurrent requests of one client on one stream."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import NamedTuple

from mistral_spend.v1 import authorization_pb2 as pb

from sidecar.authorization.call_recorder import CallRecorder, current_recorder
from sidecar.contract import validation
from sidecar.domain.decisions import Decision, Effect
from sidecar.domain.errors import ErrorCode, SidecarError
from sidecar.identity.caller import Caller, UnauthenticatedError
from sidecar.ledger.change import Change
from sidecar.server.errors import code_of

MAX_IN_FLIGHT = 256
"""Requests of one stream whose response is not sent yet; the rest wait unread."""

UNREAD_SECONDS = 10.0
"""How long a response may wait for room in the client's window, which grows as the client reads."""

_CLOCK_SECONDS = 30
"""A stream looks at the clock this often, in case it is set."""


class Pending(NamedTuple):
    """A request that is being decided, and what answers it once that is on disk."""

    change: Change[Decision]
    answer: Callable[[Decision], Awaitable[pb.AuthorizeResponse]]

    async def response(self) -> pb.AuthorizeResponse:
        """Return the response."""
        return await self.answer(await self.change)


Begin = Callable[[pb.AuthorizeRequest], Pending]
"""Validates one request, and begins to decide it."""


class _Request(NamedTuple):
    """A request of a stream that is being decided."""

    about: str
    recorder: CallRecorder
    pending: Pending


class ResponsesUnreadError(SidecarError):
    """The client did not read its responses: it may send the requests again, with their ids."""

    code, reason = ErrorCode.UNAVAILABLE, "RESPONSES_UNREAD"
    text = "the responses were not read in time"


class StreamIdleError(SidecarError):
    """The stream did nothing, and there was no other place for a new one: open it again."""

    code, reason = ErrorCode.UNAVAILABLE, "STREAM_IDLE"
    text = "another stream needed the place of this one, which was idle"


class Stream:
    """The responses to one client's stream of requests.

    What has arrived is decided in one group, without a task for each request: one task reads
    and begins, one answers, in the order of the requests. Only a denial, whose alternatives may
    take long to find, is answered by a task of its own, so that no other request waits for it.

    A stream ends

    - with its requests, or with the server
    - when the proof of its caller ends
    - with the first request that fails
    - when its client does not read
    - when it is idle, and another needs its place.

    Nothing more is decided then, but requests in flight still get a response, so that the client
    learns of every hold, if it reads. `failure` is what failed, such as a request, and its error.
    """

    def __init__(
        self,
        caller: Caller,
        begin: Begin,
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
        self._begin_one = begin
        self._requests = requests
        self._stopping = stopping
        self._recorder = recorder
        self._leave = leave
        self._deciding: asyncio.Queue[_Request | None] = asyncio.Queue()
        self._denied: set[asyncio.Task[None]] = set()
        self._responses: asyncio.Queue[pb.AuthorizeResponse | None] = asyncio.Queue()
        self._slots = asyncio.Semaphore(MAX_IN_FLIGHT)
        self._in_flight = 0
        """Requests that have begun, and whose response is not sent yet."""
        self._is_reading = self._is_over = self._is_unread = False
        self._failed = asyncio.Event()
        self._active_at_seconds = time.monotonic()
        self.failure: tuple[str, Exception] | None = None

    @property
    def owner(self) -> str:
        """Whom the caller has been proven to be; empty if that is not proven."""
        return self._caller.owner

    def idle_seconds(self) -> float:
        """Return for how long there has been no request, and no response to give."""
        return 0.0 if self._in_flight else time.monotonic() - self._active_at_seconds

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
                try:
                    yield response  # returns when gRPC has room for the next
                finally:
                    timer.cancel()
                self._in_flight -= 1
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
        reading, answering = asyncio.create_task(self._read()), asyncio.create_task(self._answer())
        reasons = [asyncio.create_task(event.wait()) for event in (self._stopping, self._failed)]
        expiring = asyncio.create_task(self._expire())
        try:
            await asyncio.wait([reading, *reasons], return_when=asyncio.FIRST_COMPLETED)
            self._stop_reading(reading)
            self._deciding.put_nowait(None)
            await answering
        finally:
            self._stop_reading(reading)
            for task in (answering, expiring, *reasons):
                task.cancel()
            self._responses.put_nowait(None)

    def _stop_reading(self, reading: asyncio.Task[None]) -> None:
        """Begin no more requests.

        A read is not cancelled but ends with the call: gRPC would not free its message
        (grpc/grpc#43360).
        """
        self._is_over = True
        if not self._is_reading:
            reading.cancel()

    async def _read(self) -> None:
        number, requests = 0, aiter(self._requests)
        while (encoded := await self._next(requests)) is not None and not self._is_over:
            number += 1
            await self._slots.acquire()
            self._begin(number, encoded, await self._recorder())

    async def _next(self, requests: AsyncIterator[bytes]) -> bytes | None:
        """Return the next request; None when there are no more, or the call has ended."""
        self._is_reading = True
        try:
            return await anext(requests, None)
        except Exception:  # gRPC's, whose text says no more than that
            return None
        finally:
            self._is_reading = False

    def _begin(self, number: int, encoded: bytes, recorder: CallRecorder) -> None:
        about = f"request {number} of the stream"
        current_recorder.set(recorder)
        try:
            request = validation.parse(pb.AuthorizeRequest, encoded)
            validation.check_request_id(request.request_id, required=True)
            about = f"request_id '{request.request_id}'"  # validated: short and printable
            pending = self._begin_one(request)
        except Exception as error:
            self._fail(about, error)
            recorder.end(code_of(error))
        else:
            self._in_flight += 1
            self._deciding.put_nowait(_Request(about, recorder, pending))

    async def _answer(self) -> None:
        request: _Request | None = None
        try:
            while (request := await self._deciding.get()) is not None:
                if await _is_denied(request.pending.change):
                    task = asyncio.create_task(self._respond(request))
                    self._denied.add(task)
                    task.add_done_callback(self._denied.discard)
                else:
                    await self._respond(request)
                request = None
            await asyncio.gather(*self._denied)
        except asyncio.CancelledError:  # the client has disconnected, or the server's grace is over
            await asyncio.sleep(0)  # each task has begun, and will end its recorder
            for task in self._denied:
                task.cancel()
            await self._withdraw(request)
            raise

    async def _respond(self, request: _Request) -> None:
        code = "CANCELLED"
        try:
            response = await request.pending.response()
        except Exception as error:
            self._fail(request.about, error)
            self._in_flight -= 1
            code = code_of(error)
        else:
            code = "OK"
            if not self._is_unread:
                self._responses.put_nowait(response)
        finally:
            request.recorder.end(code)

    async def _withdraw(self, first: _Request | None) -> None:
        """Cancel the requests in flight. Those that have begun are decided, and recorded."""
        requests = [] if first is None else [first]
        while not self._deciding.empty():
            if (request := self._deciding.get_nowait()) is not None:
                requests.append(request)
        for request in requests:
            request.pending.change.cancel()
        changes = (request.pending.change for request in requests)
        await asyncio.gather(*changes, return_exceptions=True)
        for request in requests:
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


async def _is_denied(change: Change[Decision]) -> bool:
    """Wait for a decision; return whether it is a denial. An error is that of the response."""
    try:
        return (await change).effect is Effect.DENY
    except Exception:
        return False
