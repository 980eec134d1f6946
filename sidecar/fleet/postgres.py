"""The fleet's books on PostgreSQL: an exchange is one transaction of five round trips.

    BEGIN   with its timeouts
    LOCK    the own holder, so that a holder's exchanges follow each other (G4), and the budgets of
            which shares may grow, so that these follow each other, too (G1)
    read    after the locks: the clock, the own shares, the sums of others'
    WRITE   what books.apply makes of that
    COMMIT

An exchange of a budget that is new, or of a share that the books have lost, takes more.
"""

from collections.abc import Mapping, Sequence

from sidecar.fleet import schema, statements
from sidecar.fleet.books import (
    Applied,
    BudgetState,
    FleetRow,
    HolderRow,
    Others,
    ShareRow,
    apply,
    asks,
    may_raise,
)
from sidecar.fleet.connection import BooksConnection
from sidecar.fleet.protocol import (
    Answer,
    Exchange,
    FleetUnreachableError,
    Item,
    SharedBooks,
)
from sidecar.fleet.session import AgainError, Row, Session

DEADLINE_SECONDS = 1.0
"""For an exchange with all that it takes: the connection, locks and repeats."""


class PostgresBooks(SharedBooks):
    """Books in a database of PostgreSQL."""

    def __init__(
        self,
        connection: BooksConnection,
        *,
        deadline_seconds: float = DEADLINE_SECONDS,
        isolation: str | None = None,
    ) -> None:
        """Use a connection; without an isolation level, the server's default."""
        self._connection = connection
        self._deadline_seconds = deadline_seconds
        self._limits = (round(deadline_seconds * 1000), isolation)

    async def exchange(self, exchange: Exchange) -> Answer:
        """See SharedBooks.exchange."""
        items = {schema.budget_id(item.key): item for item in exchange.items}
        to_lock = {budget for budget, item in items.items() if asks(item)}

        async def work(session: Session) -> Answer:
            while True:
                try:
                    async with session.transaction(*self._limits):
                        return await self._exchange(session, exchange, items, to_lock)
                except AgainError as again:
                    to_lock.update(again.more)
                    if again.missing:
                        missing = {name: items[name] for name in sorted(again.missing)}
                        await self._insert(session, missing)

        return await self._connection.run(work, self._deadline_seconds)

    async def close(self) -> None:
        """See SharedBooks.close."""
        self._connection.close()

    async def _exchange(
        self,
        session: Session,
        exchange: Exchange,
        items: Mapping[bytes, Item],
        to_lock: set[bytes],
    ) -> Answer:
        """Do what is to be done between BEGIN and COMMIT."""
        locked = sorted(to_lock)
        [found] = await session.fetch(statements.LOCK, exchange.uid, locked)
        holder = None
        if found["version"] is not None:
            holder = HolderRow(*(found[column] for column in HolderRow._fields))
        read = statements.read(has_timeline=session.has_timeline)
        rows = await session.fetch(read, exchange.uid, list(items))
        fleet = _fleet(rows)
        states = {row["id"]: _state(row) for row in rows if row["id"] is not None}
        now_us = rows[0]["now_us"]
        missing = items.keys() - states.keys()
        more = {
            budget
            for budget, item in items.items()
            if budget in missing or may_raise(item, states[budget].own, now_us)
        }
        if missing or not more <= to_lock or found["locked"] < len(locked):
            raise AgainError(missing, more)
        applied = apply(
            fleet,
            holder,
            {item.key: states[budget] for budget, item in items.items()},
            exchange,
            timeline=int(rows[0]["timeline"], 16),
            holders=rows[0]["others"] + 1,
            now_us=now_us,
        )
        if applied.fleet != fleet:
            learned = (applied.fleet.timeline, applied.fleet.recover_until_us)
            await session.fetch(statements.WRITE_FLEET, *learned)
        write = statements.WRITE_FIRST if holder is None else statements.WRITE
        await session.fetch(write, *_written(exchange, applied, locked))
        return applied.answer

    async def _insert(self, session: Session, items: Mapping[bytes, Item]) -> None:
        """Insert the rows of budgets, in a transaction that holds no other lock."""
        keys = [item.key for item in items.values()]
        async with session.transaction(*self._limits):
            await session.fetch(
                statements.INSERT_BUDGETS,
                list(items),
                [schema.text(key.rule) for key in keys],
                [key.meter.value for key in keys],
                [key.window.value for key in keys],
                [schema.text(key.scope) for key in keys],
                [key.start_us for key in keys],
                [item.end_us for item in items.values()],
            )


def _fleet(rows: Sequence[Row]) -> FleetRow:
    """Return the fleet's row. Raises FleetRefusedError, FleetUnreachableError."""
    if not rows:
        raise FleetUnreachableError("its tables are empty: run `sidecar fleet init`")
    row = rows[0]
    schema.check(row["least_version"])
    return FleetRow(
        row["fleet_id"], row["time_zone"], row["known_timeline"], row["recover_until_us"]
    )


def _state(row: Row) -> BudgetState:
    """Return a budget as its row has it."""
    own = None
    if row["own_granted"] is not None:
        own = ShareRow(*(row[f"own_{column}"] for column in ShareRow._fields))
    others = Others(*(row[column] for column in Others._fields))
    return BudgetState(row["adjusted"], row["short_at_us"], own, others)


def _written(exchange: Exchange, applied: Applied, locked: list[bytes]) -> list[object]:
    """Return the arguments of WRITE."""
    shares = applied.shares.values()
    asked = {item.key: item.ceiling for item in exchange.items}
    return [
        exchange.uid,
        exchange.boot,
        exchange.nonce,
        exchange.version,
        schema.text(exchange.name),
        applied.answer.now_us,
        locked,
        [schema.budget_id(key) for key in applied.short],
        [schema.budget_id(key) for key in applied.shares],
        [share.granted for share in shares],
        [share.spent for share in shares],
        [share.held for share in shares],
        [share.ceiling for share in shares],
        [share.busy_until_us for share in shares],
        [asked[key] for key in applied.shares],
    ]
