"""Where books are, and holders of theirs: the same tests drive simulated and real ones."""

import asyncio
import itertools
from collections.abc import Coroutine
from pathlib import Path
from typing import Any, Protocol, TypeVar

from fleet.postgres_server import POD, PostgresServer
from fleet.simulated_books import SimulatedBooks

from sidecar.domain.clock import SECOND_US
from sidecar.domain.decisions import Meter
from sidecar.domain.sharing import BudgetKey, Demand
from sidecar.domain.windows import FOREVER_US, Window
from sidecar.fleet import schema
from sidecar.fleet.connection import BooksConnection
from sidecar.fleet.postgres import PostgresBooks
from sidecar.fleet.protocol import Answer, Entry, Exchange, Item, SharedBooks

T = TypeVar("T")

TOTAL = BudgetKey("team-budget", Meter.COST, Window.TOTAL, "ml", 0)
MINUTE = BudgetKey("per-minute", Meter.REQUESTS, Window.MINUTE, "ml", 0)
CONCURRENT = BudgetKey("at-once", Meter.REQUESTS, Window.CONCURRENT, "ml", 0)

PATIENT_SECONDS = 20.0
"""Tests that do not measure time wait so long, on a busy machine."""


class Place(Protocol):
    """Books that a test can open, look into and move in time."""

    def open(self) -> SharedBooks:
        """Open the books, as one more sidecar does."""

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Run to the end."""

    def now_us(self) -> int:
        """Return the time by the books' clock."""

    def pass_us(self, us: int) -> None:
        """Let time pass, in which no holder is heard of."""

    def replace_server(self) -> None:
        """Let another server go on with the books, on a new timeline."""

    def lose(self) -> None:
        """Go back to `keep`: what was committed since is lost."""

    def keep(self) -> None:
        """Keep what `lose` goes back to."""

    def adjust(self, key: BudgetKey, amount: int) -> None:
        """Add to what is spent of a budget, as an operator does."""

    def granted(self, key: BudgetKey) -> dict[str, int]:
        """Return the shares of a budget, by holder."""

    def close(self) -> None:
        """Close all that was opened."""


class SimulatedPlace(Place):
    """Books in memory."""

    def __init__(self) -> None:
        """Begin with empty books."""
        self._runner = asyncio.Runner()
        self._now_us = 1_800_000_000 * SECOND_US
        self.books = SimulatedBooks(self.now_us)
        self._kept = self.books.snapshot()

    def open(self) -> SharedBooks:
        """See Place.open."""
        return self.books

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """See Place.run."""
        return self._runner.run(work)

    def now_us(self) -> int:
        """See Place.now_us. Its time goes on only by `pass_us`."""
        return self._now_us

    def pass_us(self, us: int) -> None:
        """See Place.pass_us."""
        self._now_us += us

    def replace_server(self) -> None:
        """See Place.replace_server."""
        self.books.timeline += 1

    def keep(self) -> None:
        """See Place.keep."""
        self._kept = self.books.snapshot()

    def lose(self) -> None:
        """See Place.lose."""
        self.books.restore(self._kept)

    def adjust(self, key: BudgetKey, amount: int) -> None:
        """See Place.adjust."""
        adjusted = self.books.rows.adjusted
        adjusted[key] = adjusted.get(key, 0) + amount

    def granted(self, key: BudgetKey) -> dict[str, int]:
        """See Place.granted."""
        return {uid: row.granted for uid, row in self.books.rows.shares.get(key, {}).items()}

    def close(self) -> None:
        """See Place.close."""
        self._runner.close()


class PostgresPlace(Place):
    """Books in a database of a real server, which a pod reaches by any of its URLs."""

    TABLES = ("fleet", "fleet_holder", "fleet_budget", "fleet_share", "fleet_adjustment")

    def __init__(
        self, server: PostgresServer, url_file: Path, isolation: str | None = None
    ) -> None:
        """Empty the books in the database of tests, which is made the first time."""
        self.server = server
        self.database = "books"
        self.url_file = url_file
        self.say_url(server.url(self.database))
        self._isolation = isolation
        self._runner = asyncio.Runner()
        self._opened: list[SharedBooks] = []
        self._kept: dict[str, list[Any]] = {}
        if not server.execute("SELECT 1 FROM pg_database WHERE datname = 'books'"):
            server.execute("CREATE DATABASE books")
        self.run(self._init())

    async def _init(self) -> None:
        connection = await self.server.connect(self.database)
        await connection.execute("DROP SCHEMA public CASCADE; CREATE SCHEMA public")
        await connection.execute(f"GRANT USAGE ON SCHEMA public TO {POD}")
        await schema.init(connection, "UTC")
        for statement in schema.grants(POD):
            await connection.execute(statement)
        await connection.close()

    def say_url(self, url: str) -> None:
        """Write the file that names the books."""
        self.url_file.write_text(url)

    def open(self) -> PostgresBooks:
        """See Place.open."""
        return self.open_within(PATIENT_SECONDS)

    def open_within(self, deadline_seconds: float) -> PostgresBooks:
        """Open the books with another deadline."""
        books = PostgresBooks(
            BooksConnection(self.url_file),
            deadline_seconds=deadline_seconds,
            isolation=self._isolation,
        )
        self._opened.append(books)
        return books

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """See Place.run."""
        return self._runner.run(work)

    def sql(self, *statements: str) -> list[Any]:
        """Run statements as the owner; return the rows of the last."""
        return self.server.execute(*statements, database=self.database)

    def now_us(self) -> int:
        """See Place.now_us."""
        [row] = self.sql("SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint AS now")
        return int(row["now"])

    def pass_us(self, us: int) -> None:
        """See Place.pass_us. The server's clock stays: what was before gets older."""
        self.sql(
            f"UPDATE fleet SET recover_until_us = recover_until_us - {us}",
            f"UPDATE fleet_holder SET seen_us = seen_us - {us}",
            f"UPDATE fleet_budget SET short_at_us = short_at_us - {us}",
            f"UPDATE fleet_share SET seen_us = seen_us - {us}, busy_until_us = busy_until_us - {us}",
            f"UPDATE fleet_alert SET until_us = until_us - {us}",
        )

    def replace_server(self) -> None:
        """See Place.replace_server. The server's timeline stays: what was before gets lower."""
        self.sql("UPDATE fleet SET timeline = timeline - 1")

    def keep(self) -> None:
        """See Place.keep."""
        self._kept = {table: self.sql(f"SELECT * FROM {table}") for table in self.TABLES}

    def lose(self) -> None:
        """See Place.lose."""
        for table, rows in self._kept.items():
            self.sql(f"DELETE FROM {table}")
            self.run(self._refill(table, rows))

    async def _refill(self, table: str, rows: list[Any]) -> None:
        connection = await self.server.connect(self.database)
        await connection.copy_records_to_table(table, records=[tuple(row) for row in rows])
        await connection.close()

    def adjust(self, key: BudgetKey, amount: int) -> None:
        """See Place.adjust."""
        budget = schema.budget_id(key).hex()
        self.sql(
            f"INSERT INTO fleet_adjustment SELECT decode('{budget}', 'hex'),"
            f" count(*)::text, {amount}, 'ada', 'a test', 0 FROM fleet_adjustment"
        )

    def granted(self, key: BudgetKey) -> dict[str, int]:
        """See Place.granted."""
        budget = schema.budget_id(key).hex()
        rows = self.sql(
            f"SELECT uid, granted FROM fleet_share WHERE budget = decode('{budget}', 'hex')"
        )
        return {row["uid"]: row["granted"] for row in rows}

    def close(self) -> None:
        """See Place.close."""
        for books in self._opened:
            self.run(books.close())
        self._runner.close()


class FleetHolder:
    """A holder that keeps what the books say, as a ledger does."""

    _ids = itertools.count()

    def __init__(self, place: Place, uid: str = "", name: str = "pod") -> None:
        """Join with books of its own."""
        self.place = place
        self.books = place.open()
        self.uid = uid or f"holder-{next(self._ids)}"
        self.name = name
        self.boot, self.nonce, self.version, self.timeline = 1, "a", 0, 0
        self.fleet_id, self.time_zone = "", "UTC"
        self.have: dict[BudgetKey, int] = {}

    def item(
        self,
        need: int = 0,
        wish: int = 0,
        *,
        key: BudgetKey = TOTAL,
        ceiling: int = 1000,
        have: int | None = None,
        spent: int = 0,
        held: int = 0,
        end_us: int = FOREVER_US,
        busy_us: int = 0,
    ) -> Item:
        """Return what it says of one budget."""
        has = self.have.get(key, 0) if have is None else have
        return Item(key, end_us, ceiling, Demand(has, spent, held, need, wish), busy_us)

    def says(self, *items: Item) -> Exchange:
        """Return its next exchange."""
        return Exchange(
            self.uid, self.boot, self.nonce, self.version + 1, self.timeline, self.fleet_id,
            self.time_zone, self.name, items,
        )  # fmt: skip

    async def send(self, exchange: Exchange) -> Answer:
        """Send an exchange, and adopt the answer."""
        answer = await self.books.exchange(exchange)
        self.version, self.timeline = exchange.version, answer.timeline
        self.fleet_id = answer.fleet_id
        self.have.update({entry.key: entry.share.granted for entry in answer.entries})
        return answer

    def tell(self, *items: Item) -> Answer:
        """Exchange."""
        return self.place.run(self.send(self.says(*items)))

    def ask(self, need: int = 0, wish: int = 0, **item: Any) -> Entry:
        """Exchange one item; return what the books say of it."""
        [entry] = self.tell(self.item(need, wish, **item)).entries
        return entry
