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

from crashes.calls import Call, Ending, make
from crashes.comparison import MISSING, OTHER, Fault

IN_FLIGHT = 32
TIMEOUT_SECONDS = 30.0


class Clients:
    """The calls so far, and the concurrent clients that make them."""

    def __init__(self) -> None:
        """Start without calls."""
        self.calls: list[Call] = []
        self.repeated_unanswered = 0
        self.faults: list[Fault] = []
        """Responses that are wrong."""

    async def load(self, address: str, killed: asyncio.Event) -> None:
        """Make calls, those without a response first, until the server has been killed."""
        unanswered = iter([call for call in self.calls if not call.finished])

        async def one_client(client: "_Client") -> None:
            while True:
                call = next(unanswered, None) or self._new()
                if error := await self._drive(call, client, late=False):
                    if not killed.is_set():
                        self._failed(call, error)
                    return

        async with _connected(address) as client:
            await asyncio.gather(*(one_client(client) for _ in range(IN_FLIGHT)))

    async def finish(self, address: str, repeat: Iterable[Call]) -> None:
        """Repeat all requests without a response, and some with one, while no process is killed."""
        unanswered = [call for call in self.calls if not call.finished]
        self.repeated_unanswered += len(unanswered)
        repeats = list(repeat)
        places = asyncio.Semaphore(IN_FLIGHT)

        async def one(call: Call, client: "_Client", *, repeated: bool) -> None:
            async with places:
                error = await self._drive(call, client, late=True, repeated=repeated)
            if error:
                self._failed(call, error)

        async with _connected(address) as client:
            await asyncio.gather(*(one(call, client, repeated=False) for call in unanswered))
            await asyncio.gather(*(one(call, client, repeated=True) for call in repeats))

    def _new(self) -> Call:
        self.calls.append(make(len(self.calls)))
        return self.calls[-1]

    def _failed(self, call: Call, error: grpc.aio.AioRpcError) -> None:
        kind = MISSING if error.code() is grpc.StatusCode.NOT_FOUND else OTHER
        text = f"{call.request.request_id}: {error.code().name} {error.details()}"
        self.faults.append(Fault(kind, text))

    async def _drive(
        self, call: Call, client: "_Client", *, late: bool, repeated: bool = False
    ) -> grpc.aio.AioRpcError | None:
        """Make all requests of a call; return the error that stopped it, if any."""
        try:
            if call.answer is None or repeated:
                await self._authorize(call, client)
            postponed = call.ending is Ending.SETTLE_LATE and not late
            if call.allowed and call.ending is not Ending.FORGET and not postponed:
                await self._close(call, client, repeated=repeated)
        except grpc.aio.AioRpcError as error:
            return error
        return None

    async def _authorize(self, call: Call, client: "_Client") -> None:
        authorize = client.by_stream if call.streamed else client.authorize
        answers = await asyncio.gather(
            *(authorize(call.request) for _ in range(call.copies)), return_exceptions=True
        )
        for answer in answers:
            if isinstance(answer, BaseException):
                raise answer
            if call.answer is None:
                call.answer = answer
            elif recorded(call.answer) != recorded(answer):
                text = f"{answer.request_id}: answered {call.answer}, then {answer}"
                self.faults.append(Fault(OTHER, text))

    async def _close(self, call: Call, client: "_Client", *, repeated: bool) -> None:
        assert call.answer is not None
        hold_id = call.answer.hold_id
        answer: pb.ReleaseResponse | pb.SettleResponse
        if call.ending is Ending.RELEASE:
            answer = await client.release(pb.ReleaseRequest(hold_id=hold_id))
        else:
            # A hold closes once: the usage of a repeated Settle is ignored.
            usage = pb.Usage(input_tokens=1, output_tokens=1) if repeated else call.usage
            answer = await client.settle(pb.SettleRequest(hold_id=hold_id, usage=usage))
        charged = (answer.charged_cost_nano_usd, answer.charged_tokens)
        if charged != call.expected_charge:
            text = f"{hold_id}: charged {charged} instead of {call.expected_charge}"
            self.faults.append(Fault(OTHER, text))
        call.charged = charged


class _Client:
    """A client of one server: unary RPCs, and one stream that all calls share."""

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
            self._reading.result()  # raises the error that ended the stream
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
async def _connected(address: str) -> AsyncIterator[_Client]:
    async with grpc.aio.insecure_channel(address, options=[("grpc.enable_retries", 0)]) as channel:
        client = _Client(AuthorizationServiceStub(channel))  # type: ignore[no-untyped-call]
        yield client
        await client.end()
