"""Concurrent clients of one sidecar, which record each response."""

import asyncio
import difflib
import time
from collections.abc import Iterable
from contextlib import asynccontextmanager
from random import Random
from typing import Any

import grpc
from fleet.kills.calls import BUDGET, Call, CallMaker
from mistral_spend.v1 import authorization_pb2 as pb
from mistral_spend.v1.authorization_pb2_grpc import AuthorizationServiceStub
from support.sidecar_process import error_info, recorded

from sidecar.domain.clock import SECOND_US

CLIENTS = 4
TIMEOUT_SECONDS = 20.0
PAUSE_SECONDS, RETRY_SECONDS = 0.1, 1.0
"""Between two calls of a client, at most, and after an error."""
MAX_REPEATED = 10
REFUSED_SECONDS = 0.5
"""So long after the books had no room, a call is denied without asking them again."""


class Clients:
    """Those of one ledger, with the calls that they have made."""

    def __init__(self, maker: CallMaker, random: Random) -> None:
        """Begin without calls."""
        self.calls: list[Call] = []
        self.faults: list[str] = []
        self.repeated = 0
        self._maker = maker
        self._random = random

    async def load(self, address: str, killed: asyncio.Event) -> None:
        """Finish what was not answered, repeat some of what was, and make calls until the kill."""
        open_calls = [call for call in self.calls if not self._is_finished(call)]
        answered = [call for call in self.calls if call.answer is not None]
        repeats = self._random.sample(answered, min(MAX_REPEATED, len(answered)))
        waiting = iter([*((call, True) for call in repeats), *((one, False) for one in open_calls)])

        async def one_client(stub: Any) -> None:
            while not killed.is_set():
                call, repeats = next(waiting, None) or (self._new(), False)
                try:
                    await self._drive(call, stub, repeats=repeats)
                except grpc.aio.AioRpcError as error:
                    self._failed(call, error, is_killed=killed.is_set())
                    await asyncio.sleep(self._random.uniform(0, RETRY_SECONDS))
                await asyncio.sleep(self._random.uniform(0, PAUSE_SECONDS))

        async with _connected(address) as stub:
            await asyncio.gather(*(one_client(stub) for _ in range(CLIENTS)))

    async def settle_rest(self, address: str) -> None:
        """Settle all that was allowed."""
        async with _connected(address) as stub:
            for call in self.calls:
                if call.allowed and not self._is_finished(call):
                    await self._settle(call, stub)

    def lose(self) -> None:
        """Forget what can never be settled, since the ledger is lost: it was used all the same."""
        now = time.monotonic()
        for call in self.calls:
            call.ended = min(call.ended, now)

    @staticmethod
    def _is_finished(call: Call) -> bool:
        return call.denied or call.charged_nano_usd is not None

    def _new(self) -> Call:
        call = self._maker.make()
        self.calls.append(call)
        return call

    def _failed(self, call: Call, error: grpc.aio.AioRpcError, *, is_killed: bool) -> None:
        if _reason(error) == "FLEET_UNREACHABLE":
            call.unreachable += 1
            return
        call.unanswered += 1
        if not is_killed:
            text = f"{error.code().name} {error.details()}"
            self.faults.append(f"{call.request.request_id}: {text}, and nobody killed the sidecar")

    async def _drive(self, call: Call, stub: Any, *, repeats: bool) -> None:
        if call.answer is None or repeats:
            self.repeated += repeats
            await self._authorize(call, stub)
        if call.allowed and call.charged_nano_usd is None:
            await asyncio.sleep(call.hold_seconds)
            await self._settle(call, stub)

    async def _authorize(self, call: Call, stub: Any) -> None:
        call.sent, call.sent_at = call.sent or time.monotonic(), time.time()
        answers = await asyncio.gather(
            *(stub.Authorize(call.request, timeout=TIMEOUT_SECONDS) for _ in range(call.copies)),
            return_exceptions=True,
        )
        for answer in answers:
            if isinstance(answer, BaseException):
                continue
            if call.answer is None:
                call.answer, call.answered = answer, time.monotonic()
                self._check(call, answer)
            elif _kept(call.answer) != _kept(answer):
                text = f"answered otherwise the second time: {_difference(call.answer, answer)}"
                self.faults.append(f"{call.request.request_id}: {text}")
        for answer in answers:
            if isinstance(answer, BaseException):
                raise answer

    def _check(self, call: Call, answer: pb.AuthorizeResponse) -> None:
        """Check that the books had no room, as far as the answer shows it (G9)."""
        for reason in answer.reasons:
            for budget in answer.budgets:
                if budget.rule != reason.rule or budget.rule != BUDGET:
                    continue
                age_seconds = call.sent_at - budget.as_of.ToMicroseconds() / SECOND_US
                if call.held_nano_usd <= budget.remaining and age_seconds > REFUSED_SECONDS:
                    text = f"denied {call.held_nano_usd}, and {budget.remaining} were left"
                    self.faults.append(f"{call.request.request_id}: {text} {age_seconds:.2f} s ago")

    async def _settle(self, call: Call, stub: Any) -> None:
        assert call.answer is not None
        given = min(call.used_tokens, call.request.estimate.input_tokens)
        usage = pb.Usage(input_tokens=given, output_tokens=call.used_tokens - given)
        call.ended = min(call.ended, time.monotonic())
        request = pb.SettleRequest(hold_id=call.answer.hold_id, usage=usage)
        settled = await stub.Settle(request, timeout=TIMEOUT_SECONDS)
        call.charged_nano_usd = settled.charged_cost_nano_usd
        if call.charged_nano_usd != call.used_nano_usd:
            text = f"charged {call.charged_nano_usd} instead of {call.used_nano_usd}"
            self.faults.append(f"{call.request.request_id}: {text}")


def _reason(error: grpc.aio.AioRpcError) -> str:
    """Return the reason of a sidecar's error; empty for one of the connection."""
    try:
        return str(error_info(error).reason)
    except AssertionError:
        return ""


def _kept(answer: pb.AuthorizeResponse) -> pb.AuthorizeResponse:
    """Return what of a response is given again to a repeat."""
    kept = recorded(answer)
    for budget in kept.budgets:
        budget.ClearField("as_of")
    return kept


def _difference(one: pb.AuthorizeResponse, other: pb.AuthorizeResponse) -> str:
    """Return the lines of two responses that are not in both."""
    texts = (str(_kept(one)).splitlines(), str(_kept(other)).splitlines())
    return "; ".join(
        line
        for line in difflib.unified_diff(*texts, n=1, lineterm="")
        if line[:3] not in {"---", "+++"}
    )


@asynccontextmanager
async def _connected(address: str) -> Any:
    async with grpc.aio.insecure_channel(address, options=[("grpc.enable_retries", 0)]) as channel:
        yield AuthorizationServiceStub(channel)  # type: ignore[no-untyped-call]


def all_calls(clients: Iterable[Clients]) -> list[Call]:
    """Return the calls of all clients."""
    return [call for one in clients for call in one.calls]
