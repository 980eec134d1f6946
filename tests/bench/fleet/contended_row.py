"""The yardstick: a budget that is one row in PostgreSQL, which each call updates.

It is what a team might build instead of a fleet. Each step is one statement, one round trip and
one durable commit, and is prepared once.
"""

import asyncio
import random
import time
from multiprocessing.connection import Connection
from pathlib import Path
from typing import NamedTuple

import asyncpg

from sidecar.fleet.url import connection_settings

TABLES = (
    "CREATE TABLE budget (id INT PRIMARY KEY, spent BIGINT NOT NULL, ceiling BIGINT NOT NULL)",
    "CREATE TABLE hold (id BIGSERIAL PRIMARY KEY, amount BIGINT NOT NULL, settled BIGINT)",
    "INSERT INTO budget VALUES (1, 0, 1000000000000000)",
    "GRANT ALL ON budget, hold, hold_id_seq TO pod",
)
TAKE = """
UPDATE budget SET spent = spent + $1::bigint
WHERE id = 1 AND spent + $1::bigint <= ceiling RETURNING spent
"""
HOLD = f"WITH taken AS ({TAKE}) INSERT INTO hold (amount) SELECT $1::bigint FROM taken RETURNING id"
SETTLE = """
WITH closed AS (
    UPDATE hold SET settled = $2::bigint WHERE id = $1::bigint AND settled IS NULL RETURNING amount
)
UPDATE budget SET spent = spent - closed.amount + $2::bigint FROM closed WHERE budget.id = 1
"""
MOST_TOKENS = 100


class RowJob(NamedTuple):
    """A process that updates the row, one call after the other."""

    url_file: Path
    warm_up_seconds: float
    seconds: float
    settles: bool
    """Whether each call has a hold, which is settled."""


def run(connection: Connection, job: RowJob) -> None:
    """Send how many calls were decided in the time."""
    asyncio.run(_run(connection, job))


async def _run(connection: Connection, job: RowJob) -> None:
    books = await asyncpg.connect(**connection_settings(job.url_file))
    take, hold, settle = [await books.prepare(it) for it in (TAKE, HOLD, SETTLE)]
    connection.send("ready")
    connection.recv()
    begins = time.monotonic() + job.warm_up_seconds
    ends = begins + job.seconds
    decided = 0
    while (now := time.monotonic()) < ends:
        if job.settles:
            hold_id = await hold.fetchval(MOST_TOKENS)
            await settle.fetch(hold_id, random.randint(40, MOST_TOKENS))  # noqa: S311 - load
        else:
            assert await take.fetchval(MOST_TOKENS) is not None
        decided += now >= begins
    connection.send(decided)
    await books.close()
