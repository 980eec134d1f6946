"""A simulated app: it authorizes, calls and settles, with the faults of real apps."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import TypeVar

from mistral_spend.v1 import authorization_pb2 as pb
from support.sidecar_process import chat, tester

from sidecar.domain.decisions import Decision, Meter
from sidecar.domain.usage import UsageReport
from sidecar.ledger.protocol import HoldUnknownError, LedgerUnavailableError, RequestIdReusedError
from simulation.loop import SimulatedLoop
from simulation.process import Process, ProcessRun
from simulation.promises import BrokenPromiseError, Promises

T = TypeVar("T")

MODEL = "small-latest"
NANO_USD_PER_TOKEN = 1000
MAX_CALLS = 3
MAX_TRIES = 100
"""With more failures in a row, the process has stopped answering."""

ENDS = [[], ["settle"], ["settle"], ["release"], ["settle", "settle"], ["settle", "release"]]
"""How an app ends a hold: not at all, once, or twice at the same time."""


class GaveUpError(Exception):
    """The app has crashed, or retries no longer."""


class Client:
    """One app, which makes a few calls, one after another."""

    def __init__(
        self,
        name: str,
        pace_seconds: float,
        loop: SimulatedLoop,
        process: Process,
        promises: Promises,
    ) -> None:
        """Call this process at this mean pace, and record the responses."""
        self._pace_seconds = pace_seconds
        self._name, self._loop, self._process, self._promises = name, loop, process, promises

    async def make_calls(self) -> None:
        """Make all calls, with any results."""
        for number in range(self._loop.random.randint(1, MAX_CALLS)):
            await self._loop.pause(self._pace_seconds)
            request_id = f"{self._name}, call {number}"
            try:
                await self._one_call(request_id)
            except GaveUpError:
                self._loop.note(f"{request_id} is abandoned")
            except HoldUnknownError:
                self._promises.check_unknown_hold(request_id)

    async def _one_call(self, request_id: str) -> None:
        loop = self._loop
        tokens, ttl_seconds = loop.random.randint(2, 120), loop.random.randint(1, 8)
        request = chat(
            tester(id=self._name),
            model=MODEL,
            request_id=request_id,
            estimate={"input_tokens": tokens // 2, "max_output_tokens": tokens - tokens // 2},
            hold_ttl_seconds=ttl_seconds,
        )
        decision = await self._authorize(request)
        if loop.maybe(0.2):
            decision = await self._authorize(request)
        if loop.maybe(0.1):
            await self._reuse_request_id(request)
        if loop.maybe(0.1):
            self._read_budgets()
        if decision.hold_id:
            if loop.maybe(0.05):
                await self._settle_too_much(decision.hold_id)
            if loop.maybe(0.2):
                await asyncio.sleep(ttl_seconds)
            used = loop.random.randint(0, tokens) + (50 if loop.maybe(0.1) else 0)
            ends = loop.random.choice(ENDS)
            expected = {used if end == "settle" else 0 for end in ends}
            await asyncio.gather(
                *(self._end(end, request_id, decision.hold_id, used, expected) for end in ends)
            )

    async def _authorize(self, request: pb.AuthorizeRequest) -> Decision:
        at_us = self._loop.clock()
        what = f"{request.request_id} authorizes"
        decision = await self._call(what, lambda run: run.authorizer.authorize(request))
        result = ", ".join([decision.effect, *(reason.rule for reason in decision.reasons)])
        self._loop.note(f"{request.request_id} gets {result}")
        tokens = request.estimate.input_tokens + request.estimate.max_output_tokens
        cost = tokens * NANO_USD_PER_TOKEN
        amounts = {Meter.REQUESTS: 1, Meter.TOKENS: tokens, Meter.COST: cost}
        self._promises.check_decision(at_us, decision, amounts)
        return decision

    async def _reuse_request_id(self, request: pb.AuthorizeRequest) -> None:
        other = pb.AuthorizeRequest()
        other.CopyFrom(request)
        other.estimate.input_tokens += 1
        what = f"{request.request_id} authorizes with other content"
        try:
            await self._call(what, lambda run: run.authorizer.authorize(other))
        except RequestIdReusedError:
            return
        self._promises.check_reuse(request.request_id)
        raise GaveUpError

    async def _settle_too_much(self, hold_id: str) -> None:
        """L7: an amount too large for the ledger fails, and the rest of its group does not."""
        report = UsageReport(2**63, 0)
        with suppress(ConnectionError, LedgerUnavailableError):
            await self._process.call(lambda run: run.authorizer.settle(hold_id, report, "", "ok"))
            raise BrokenPromiseError("L7 2**63 tokens were settled")

    async def _end(
        self, end: str, request_id: str, hold_id: str, used: int, expected: set[int]
    ) -> None:
        charge = await self._call(
            f"{request_id}: {end} {used}",
            lambda run: (
                run.authorizer.settle(hold_id, UsageReport(used, 0), "", "ok")
                if end == "settle"
                else run.authorizer.release(hold_id, "not sent")
            ),
        )
        self._loop.note(f"{request_id} is charged {charge.tokens}")
        self._promises.check_charge(request_id, charge, expected)

    def _read_budgets(self) -> None:
        """Read the budgets, without waiting for a commit."""
        if not self._process.current.ending:
            run = self._process.current
            budgets, _ = run.authorizer.budgets(tester(id=self._name), MODEL)
            self._promises.check_budgets(run.inspector, budgets)

    async def _call(self, what: str, work: Callable[[ProcessRun], Awaitable[T]]) -> T:
        """Call with retries until there is a response. Raises the sidecar's error, or GaveUpError."""
        gives_up = self._loop.maybe(0.05)
        for _ in range(MAX_TRIES):
            await self._loop.pause(0.01)
            self._loop.note(what)
            retry = self._loop.random.expovariate(200) if self._loop.maybe(0.1) else None
            try:
                return await self._process.call(work, retry)
            except (ConnectionError, LedgerUnavailableError) as error:
                self._loop.note(f"{what}: {type(error).__name__} {error}")
            if gives_up:
                raise GaveUpError
            await self._loop.pause(0.1)
        raise BrokenPromiseError(f"L4 {what}, and is never answered")
