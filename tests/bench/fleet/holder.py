"""A holder of a fleet without gRPC: a ledger, its exchanger, and the books on PostgreSQL."""

import asyncio
import logging
import random
import time
from dataclasses import replace
from multiprocessing.connection import Connection
from pathlib import Path
from typing import NamedTuple

from support.reservations import limit, reservation, settlement

from sidecar.domain.decisions import Decision, Effect, Meter
from sidecar.domain.errors import SidecarError
from sidecar.domain.windows import Window
from sidecar.fleet.connection import BooksConnection
from sidecar.fleet.exchanger import Exchanger
from sidecar.fleet.ledger import FleetLedger
from sidecar.fleet.postgres import PostgresBooks
from sidecar.ledger.sqlite import SqliteLedger

MOST_TOKENS, FEWEST_TOKENS = 100, 40
"""A call holds the most, and is settled with something between them."""
MEAN_TOKENS = (MOST_TOKENS + FEWEST_TOKENS) / 2
CALL_SECONDS = 0.05
"""How long a paced call takes until it is settled."""
IN_FLIGHT = 64


class Holder:
    """A ledger with one budget of the fleet, or with one of its own."""

    def __init__(self, url_file: Path | None, ledger: Path, ceiling: int) -> None:
        """Open the ledger; without books, it is no holder."""
        self._exchanger: Exchanger | None = None
        if url_file is None:
            self._ledger = SqliteLedger(ledger)
        else:
            books = PostgresBooks(BooksConnection(url_file))
            self._exchanger = Exchanger(books, steady_us, "UTC", ledger.stem)
            self._ledger = FleetLedger(ledger, self._exchanger)
        budget = limit(ceiling, Meter.TOKENS, Window.TOTAL)
        self._call = reservation(0, budget, tokens=MOST_TOKENS)
        self._exchanging: asyncio.Task[None] | None = None

    async def start(self) -> str:
        """Exchange from now on; return the holder's uid."""
        if self._exchanger is None:
            return ""
        assert isinstance(self._ledger, FleetLedger)
        await self._exchanger.start(self._ledger, wall_us)
        self._exchanging = asyncio.create_task(self._exchanger.run())
        holder = self._ledger.holder()
        assert holder is not None
        return holder.uid

    async def decide(self) -> Decision:
        """Decide one more call. Raises SidecarError."""
        return await self._ledger.decide(replace(self._call, at_us=wall_us()))

    async def settle(self, hold_id: str) -> int:
        """Settle a hold; return with how many tokens."""
        tokens = random.randint(FEWEST_TOKENS, MOST_TOKENS)  # noqa: S311 - load
        await self._ledger.settle(hold_id, settlement(wall_us(), tokens))
        return tokens

    def exchanges(self) -> int:
        """Return how many exchanges were answered."""
        return 0 if self._exchanger is None else self._exchanger.state().answered


class SpeedJob(NamedTuple):
    """A ledger that decides as fast as it can; in a fleet, if there are books."""

    url_file: Path | None
    ledger: Path
    ceiling: int
    warm_up_seconds: float
    seconds: float
    settles: bool


class Speed(NamedTuple):
    """What it has done in the time."""

    decided: int
    unavailable: int
    exchanges: int
    cpu_seconds: float


def run_fast(connection: Connection, job: SpeedJob) -> None:
    """Send the Speed of a holder."""
    logging.disable(logging.WARNING)  # exchanges that fail are counted
    asyncio.run(_run_fast(connection, job))


async def _run_fast(connection: Connection, job: SpeedJob) -> None:
    holder = Holder(job.url_file, job.ledger, job.ceiling)
    connection.send("ready")
    connection.recv()
    await holder.start()
    begins = time.monotonic() + job.warm_up_seconds
    ends = begins + job.seconds
    decided = unavailable = 0

    async def work() -> None:
        nonlocal decided, unavailable
        while (now := time.monotonic()) < ends:
            try:
                decision = await holder.decide()
            except SidecarError:
                unavailable += now >= begins
                continue
            assert decision.effect is Effect.ALLOW, decision.reasons
            if job.settles:
                await holder.settle(decision.hold_id)
            decided += begins <= now

    working = [asyncio.create_task(work()) for _ in range(IN_FLIGHT)]
    await asyncio.sleep(job.warm_up_seconds)
    exchanges, cpu_seconds = holder.exchanges(), time.process_time()
    await asyncio.gather(*working)
    exchanges, cpu_seconds = holder.exchanges() - exchanges, time.process_time() - cpu_seconds
    connection.send(Speed(decided, unavailable, exchanges, cpu_seconds))


class PacedJob(NamedTuple):
    """A holder that is called so many times a second, until it is told to stop."""

    url_file: Path
    ledger: Path
    ceiling: int
    calls_per_second: float


class Change(NamedTuple):
    """By how much what is used has changed, and when, by a clock of the whole machine."""

    at: float
    tokens: int
    is_denial: bool = False


def run_paced(connection: Connection, job: PacedJob) -> None:
    """Send the uid of a holder once it is in the fleet, and all changes in the end."""
    logging.disable(logging.WARNING)
    asyncio.run(_run_paced(connection, job))


async def _run_paced(connection: Connection, job: PacedJob) -> None:
    holder = Holder(job.url_file, job.ledger, job.ceiling)
    connection.send(await holder.start())
    await asyncio.to_thread(connection.recv)
    changes: list[Change] = []
    stopping = asyncio.create_task(asyncio.to_thread(connection.recv))
    calls: set[asyncio.Task[None]] = set()
    due = time.monotonic()
    while not stopping.done():
        due += random.expovariate(job.calls_per_second)
        await asyncio.wait([stopping], timeout=max(0, due - time.monotonic()))
        call = asyncio.create_task(_call(holder, changes))
        calls.add(call)
        call.add_done_callback(calls.discard)
    await asyncio.gather(*calls)
    connection.send(changes)


async def _call(holder: Holder, changes: list[Change]) -> None:
    try:
        decision = await holder.decide()
    except SidecarError:
        return
    if decision.effect is Effect.DENY:
        changes.append(Change(time.monotonic(), 0, is_denial=True))
        return
    changes.append(Change(time.monotonic(), MOST_TOKENS))
    await asyncio.sleep(CALL_SECONDS)
    tokens = await holder.settle(decision.hold_id)
    changes.append(Change(time.monotonic(), tokens - MOST_TOKENS))


def wall_us() -> int:
    """Return the time."""
    return time.time_ns() // 1000


def steady_us() -> int:
    """Return the time by a clock without steps."""
    return time.monotonic_ns() // 1000
