"""Concurrent clients that record each response."""

import asyncio
import itertools
from collections import defaultdict
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from typing import Any

import grpc
from mistral_spend.v1 import authorization_pb2 as pb
from mistral_spend.v1.authorization_pb2_grpc import AuthorizationServiceStub
from support.sidecar_process import recorded

from crashes.books import MISSING, OTHER, Fault
from crashes.calls import Call, PendingReport, make

IN_FLIGHT = 32
TIMEOUT_SECONDS = 30.0


class Crowd:
    """All calls so far, and the clients that make them."""

    def __init__(self) -> None:
        """Begin with no calls."""
        self.calls: list[Call] = []
        self.asked_again = 0
        self.faults: list[Fault] = []
        """What no client should ever see."""

    async def load(self, address: str, killed: asyncio.Event) -> None:
        """Make calls, those without a response first, until the server has been killed."""
        again = iter([call for call in self.calls if not call.finished])

        async def client(asking: "_Asking") -> None:
            while True:
                call = next(again, None) or self._new()
                if error := await self._drive(call, asking, late=False):
                    if not killed.is_set():
                        self._failed(call, error)
                    return

        async with _asking(address) as asking:
            await asyncio.gather(*(client(asking) for _ in range(IN_FLIGHT)))

    async def finish(self, address: str, repeat: Iterable[Call]) -> None:
        """Repeat all requests without a response, and some with one, while no process is killed."""
        unanswered = [call for call in self.calls if not call.finished]
        self.asked_again += len(unanswered)
        repeats = list(repeat)
        places = asyncio.Semaphore(IN_FLIGHT)

        async def one(call: Call, asking: "_Asking", *, repeated: bool) -> None:
            async with places:
                error = await self._drive(call, asking, late=True, repeated=repeated)
            if error:
                self._failed(call, error)

        async with _asking(address) as asking:
            await asyncio.gather(*(one(call, asking, repeated=False) for call in unanswered))
            await asyncio.gather(*(one(call, asking, repeated=True) for call in repeats))

    def _new(self) -> Call:
        self.calls.append(make(len(self.calls)))
        return self.calls[-1]

    def _failed(self, call: Call, error: grpc.aio.AioRpcError) -> None:
        kind = MISSING if error.code() is grpc.StatusCode.NOT_FOUND else OTHER
        text = f"{call.request.request_id}: {error.code().name} {error.details()}"
        self.faults.append(Fault(kind, text))

    async def _drive(
        self, call: Call, asking: "_Asking", *, late: bool, repeated: bool = False
    ) -> grpc.aio.AioRpcError | None:
        """Make all requests of a call; return the error that stopped it, if any."""
        try:
            if call.answer is None or repeated:
                await self._authorize(call, asking)
            postponed = call.ending is PendingReport.SETTLE_LATE and not late
            if call.allowed and call.ending is not PendingReport.FORGET and not postponed:
                await self._close(call, asking, repeated=repeated)
        except grpc.aio.AioRpcError as error:
            return error
        return None

    async def _authorize(self, call: Call, asking: "_Asking") -> None:
        ask = asking.by_stream if call.streamed else asking.authorize
        answers = await asyncio.gather(
            *(ask(call.request) for _ in range(call.copies)), return_exceptions=True
        )
        for answer in answers:
            if isinstance(answer, BaseException):
                raise answer
            if call.answer is None:
                call.answer = answer
            elif recorded(call.answer) != recorded(answer):
                text = f"{answer.request_id}: answered {call.answer}, then {answer}"
                self.faults.append(Fault(OTHER, text))

    async def _close(self, call: Call, asking: "_Asking", *, repeated: bool) -> None:
        assert call.answer is not None
        hold_id = call.answer.hold_id
        answer: pb.ReleaseResponse | pb.SettleResponse
        if call.ending is PendingReport.RELEASE:
            answer = await asking.release(pb.ReleaseRequest(hold_id=hold_id))
        else:
            # A hold closes once: what a repeat reports must not matter.
            usage = pb.Usage(input_tokens=1, output_tokens=1) if repeated else call.usage
            answer = await asking.settle(pb.SettleRequest(hold_id=hold_id, usage=usage))
        charged = (answer.charged_cost_nano_usd, answer.charged_tokens)
        if charged != call.expected_charge:
            text = f"{hold_id}: charged {charged} instead of {call.expected_charge}"
            self.faults.append(Fault(OTHER, text))
        call.charged = charged


class _Asking:
    """A client of one server: every RPC once, and a stream that all share."""

    def __init__(self, stub: Any) -> None:
        self._stub = stub
        self._requests: asyncio.Queue[pb.AuthorizeRequest | None] = asyncio.Queue()
        self._waiting: dict[str, list[asyncio.Future[pb.AuthorizeResponse]]] = defaultdict(list)
        self._reading = asyncio.create_task(self._read())

    async def authorize(self, request: pb.AuthorizeRequest) -> pb.AuthorizeResponse:
        answer: pb.AuthorizeResponse = await self._stub.Authorize(request, timeout=TIMEOUT_SECONDS)
        return answer

    async def by_stream(self, request: pb.AuthorizeRequest) -> pb.AuthorizeResponse:
        if self._reading.done():
            self._reading.result()  # raises why the stream has ended
        future: asyncio.Future[pb.AuthorizeResponse] = asyncio.get_running_loop().create_future()
        self._waiting[request.request_id].append(future)
        self._requests.put_nowait(request)
        return await future

    async def settle(self, request: pb.SettleRequest) -> pb.SettleResponse:
        answer: pb.SettleResponse = await self._stub.Settle(request, timeout=TIMEOUT_SECONDS)
        return answer

    async def release(self, request: pb.ReleaseRequest) -> pb.ReleaseResponse:
        answer: pb.ReleaseResponse = await self._stub.Release(request, timeout=TIMEOUT_SECONDS)
        return answer

    async def _read(self) -> None:
        try:
            async for answer in self._stub.AuthorizeStream(self._send()):
                self._waiting[answer.request_id].pop().set_result(answer)
        except grpc.aio.AioRpcError as error:
            for future in itertools.chain(*self._waiting.values()):
                future.set_exception(error)
            raise
        finally:
            self._requests.put_nowait(None)

    async def _send(self) -> AsyncIterator[pb.AuthorizeRequest]:
        while (request := await self._requests.get()) is not None:
            yield request

    async def end(self) -> None:
        self._requests.put_nowait(None)
        await asyncio.gather(self._reading, return_exceptions=True)


@asynccontextmanager
async def _asking(address: str) -> AsyncIterator[_Asking]:
    async with grpc.aio.insecure_channel(address, options=[("grpc.enable_retries", 0)]) as channel:
        asking = _Asking(AuthorizationServiceStub(channel))  # type: ignore[no-untyped-call]
        yield asking
        await asking.end()
