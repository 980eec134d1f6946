"""The simulated network to the books: exchanges are lost, late, doubled, or not answered."""

import asyncio
from collections import deque
from contextvars import copy_context

from sidecar.fleet.protocol import (
    Answer,
    Exchange,
    FleetRefusedError,
    FleetUnreachableError,
    SharedBooks,
)
from simulation.fleet.books import CheckedBooks
from simulation.fleet.loop import OWNER, FleetLoop

DEADLINE_SECONDS = 1.0
"""As PostgresBooks has."""

REMEMBERED = 300
"""How many answers are kept, for checks."""

FAULTS = ("a request is lost", "an answer is lost", "a request is late", "a request comes twice")


class Network:
    """All ways to the books."""

    def __init__(self, loop: FleetLoop, books: CheckedBooks, rate: float) -> None:
        """Have faults in this share of the exchanges."""
        self._loop, self._books = loop, books
        self.rate = rate
        self.is_down = False
        self._delay_seconds = loop.random.choice([0.001, 0.01, 0.1])

    async def send(self, exchange: Exchange, reply: asyncio.Future[Answer]) -> None:
        """Bring an exchange to the books, and the answer back, if all goes well."""
        loop, fault = self._loop, ""
        if loop.maybe(self.rate):
            fault = loop.random.choice(FAULTS)
            loop.note(f"{exchange.name}, version {exchange.version}: {fault}")
        if fault == "a request is lost":
            return
        if fault == "a request is late":
            await loop.pause(3)
        await loop.pause(self._delay_seconds)
        if fault == "a request comes twice":
            loop.create_task(self._again(exchange)).add_done_callback(_result)
        if self.is_down:
            return
        outcome = await self._deliver(exchange)
        await loop.pause(self._delay_seconds)
        if fault != "an answer is lost" and not reply.done():
            if isinstance(outcome, Answer):
                reply.set_result(outcome)
            else:
                reply.set_exception(outcome)

    async def _again(self, exchange: Exchange) -> None:
        await self._loop.pause(self._loop.random.choice([0.1, 3, 30]))
        if not self.is_down and not self._loop.over:
            await self._deliver(exchange)

    async def _deliver(self, exchange: Exchange) -> Answer | FleetRefusedError:
        try:
            answer = await self._books.exchange(exchange)
        except FleetRefusedError as refused:
            self._loop.note(f"{exchange.name}, version {exchange.version}: {refused}"[:90])
            return refused
        shares = ", ".join(
            f"{entry.key.rule} {item.demand.have}/{item.demand.used}+{item.demand.need}"
            f"+{item.demand.wish}={entry.share.granted} of {item.ceiling}"
            for item, entry in zip(exchange.items, answer.entries, strict=True)
        )
        state = " learning" if answer.is_learning else ""
        boot, version = exchange.boot, exchange.version
        self._loop.note(f"{exchange.name}, version {boot}.{version}:{state} {shares}")
        return answer


class Link(SharedBooks):
    """One process's way to the books."""

    def __init__(self, loop: FleetLoop, network: Network) -> None:
        """Use the network."""
        self._loop, self._network = loop, network
        self.is_cut = False
        self.answers: deque[tuple[float, Exchange, Answer]] = deque(maxlen=REMEMBERED)
        """The last answers, and when they came."""

    async def exchange(self, exchange: Exchange) -> Answer:
        """See SharedBooks.exchange."""
        reply: asyncio.Future[Answer] = self._loop.create_future()
        if self.is_cut and self._loop.maybe(0.5):
            raise FleetUnreachableError("connection refused")
        if not self.is_cut:
            context = copy_context()  # what is under way goes on when the process has ended
            context.run(OWNER.set, None)
            sending = self._loop.create_task(self._network.send(exchange, reply), context=context)
            sending.add_done_callback(_result, context=context)
        try:
            async with asyncio.timeout(DEADLINE_SECONDS):
                answer = await reply
        except TimeoutError:
            raise FleetUnreachableError("no answer within 1 s") from None
        self.answers.append((self._loop.time(), exchange, answer))
        return answer

    async def close(self) -> None:
        """See SharedBooks.close."""


def _result(task: asyncio.Task[None]) -> None:
    """Let what failed in a task fail the world."""
    if not task.cancelled():
        task.result()
