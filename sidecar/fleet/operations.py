"""What operators do to the books by hand: make the tables, and adjust a budget.

Each is one transaction, of a role with more rights than a pod's.
"""

import asyncio
import contextlib
import secrets
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import asyncpg

from sidecar.domain.decisions import Meter
from sidecar.domain.sharing import TIMELESS
from sidecar.fleet import schema, statements
from sidecar.fleet.failures import unreachable
from sidecar.fleet.protocol import FleetRefusedError, FleetUnreachableError
from sidecar.fleet.session import IN_THE_WAY, Session, connect, open_connection
from sidecar.fleet.status import (
    BudgetStatus,
    FleetStatus,
    budget_status,
    known_meter,
    read_status,
)

T = TypeVar("T")

CONNECT_SECONDS = 5.0
DEADLINE_SECONDS = 30.0
"""For all of an operation: it may wait for exchanges, and read large tables."""
PAUSE_SECONDS = 0.05

ONE_MOMENT = "REPEATABLE READ, READ ONLY"
"""The isolation of what is read as of one moment."""

MAX_KNOWN = 1000
"""Names that a mistyped one is compared with."""

_RIGHTS = (
    "the role of this URL may not do that: give the URL of the role that made the tables, or let it"
    " give a sidecar's rights to this one by `sidecar fleet init --grant-to ROLE`"
)


_BOTH_MAKE_IT = (asyncpg.UniqueViolationError, asyncpg.DuplicateTableError)
"""Another `init` has made a table at the same time: IF NOT EXISTS does not see it yet."""


class UnknownNameError(FleetRefusedError):
    """The books have no such name; `known` are some that they have."""

    def __init__(self, text: str, name: str, known: Sequence[str]) -> None:
        """Say what is unknown."""
        super().__init__(text)
        self.name, self.known = name, known


class Made(NamedTuple):
    """What `init` has found, and made."""

    fleet_id: str
    before: int
    """The version of the tables that were there; 0 is none."""
    now: int


class OpenBudget(NamedTuple):
    """A budget in its current window."""

    id: bytes
    meter: Meter
    window: str


async def operate(
    url_file: Path, work: Callable[[Session], Awaitable[T]], *, isolation: str | None = None
) -> T:
    """Run work in a transaction, again while others are in its way; return its result.

    Raises FleetRefusedError, FleetUnreachableError.
    """
    milliseconds = round(DEADLINE_SECONDS * 1000)

    async def run() -> T:
        session = await connect(url_file, CONNECT_SECONDS)
        try:
            while True:
                try:
                    async with session.transaction(milliseconds, isolation):
                        await _check_version(session)
                        return await work(session)
                except IN_THE_WAY:
                    await asyncio.sleep(PAUSE_SECONDS)
        finally:
            session.close()

    return await _understood(run())


async def planned(url_file: Path, time_zone: str, role: str) -> list[str]:
    """Return the statements that `init` would run. Raises as it does."""

    async def run() -> list[str]:
        connection = await open_connection(url_file, CONNECT_SECONDS)
        try:
            before = await schema.version(connection)
            if before:
                known = await connection.fetchval("SELECT time_zone FROM fleet")
                schema.check_time_zone(known, time_zone)
            await _check_role(connection, role)
            rights = await _rights(connection, role)
        finally:
            connection.terminate()
        schema.check(before)
        return [*schema.statements(before, time_zone), *rights]

    return await _understood(run())


async def init(url_file: Path, time_zone: str, role: str) -> Made:
    """Make the tables, or what they lack; give a role, if any, the rights of a sidecar.

    May be repeated. Raises FleetRefusedError, FleetUnreachableError.
    """

    async def run() -> Made:
        connection = await open_connection(url_file, CONNECT_SECONDS)
        try:
            while True:
                with contextlib.suppress(*_BOTH_MAKE_IT):
                    return await _init(connection, time_zone, role)
                await asyncio.sleep(PAUSE_SECONDS)
        finally:
            connection.terminate()

    return await _understood(run())


async def _init(connection: asyncpg.Connection, time_zone: str, role: str) -> Made:
    """Do what `init` does, once."""
    before = await schema.version(connection)
    await _check_role(connection, role)
    async with connection.transaction():
        fleet_id = await schema.init(connection, time_zone)
        for statement in await _rights(connection, role):
            await connection.execute(statement)
    return Made(fleet_id, before, schema.VERSION)


async def status(url_file: Path, limit: int) -> FleetStatus:
    """Return the status of the books, with at most so many holders and budgets.

    Raises FleetRefusedError, FleetUnreachableError.
    """
    return await operate(
        url_file, lambda session: read_status(session, limit), isolation=ONE_MOMENT
    )


async def open_budget(url_file: Path, rule: str, scope: str) -> OpenBudget:
    """Return the budget of a limit's scope in its current window, to adjust.

    Raises UnknownNameError, FleetRefusedError, FleetUnreachableError.
    """
    return await operate(url_file, lambda session: _open_budget(session, rule, scope))


async def adjust(
    url_file: Path, budget: OpenBudget, amount: int, signed_by: str, reason: str
) -> BudgetStatus:
    """Add an amount to what is spent of a budget; a negative one is more room. Return its status.

    Raises FleetRefusedError, FleetUnreachableError.
    """
    adjustment_id = secrets.token_hex(16)

    async def work(session: Session) -> BudgetStatus:
        # So that it comes before an exchange that grants shares of it, or after (G1).
        await lock_budgets(session, [budget.id])
        await session.fetch(_ADJUST, budget.id, adjustment_id, amount, signed_by, reason)
        return await budget_status(session, budget.id)

    return await operate(url_file, work)


async def lock_budgets(session: Session, ids: Sequence[bytes]) -> None:
    """Lock budgets as exchanges do: in their order, and by a write (see statements.py)."""
    await session.fetch(_LOCK, ids)
    await session.fetch(_WRITE_LOCK, ids)


async def _understood(operation: Awaitable[T]) -> T:
    """Return an operation's result, or raise an error of ours: the driver's may quote anything."""
    try:
        async with asyncio.timeout(DEADLINE_SECONDS):
            return await operation
    except (FleetRefusedError, FleetUnreachableError):
        raise
    except (asyncpg.InsufficientPrivilegeError, asyncpg.InvalidSchemaNameError):
        raise FleetRefusedError(_RIGHTS) from None
    except Exception as error:
        raise unreachable(error, DEADLINE_SECONDS) from None


async def _check_version(session: Session) -> None:
    rows = await session.fetch("SELECT least_version FROM fleet")
    if not rows:
        raise FleetUnreachableError("its tables are empty: run `sidecar fleet init`")
    schema.check(rows[0]["least_version"])


async def _check_role(connection: Any, role: str) -> None:
    """Raise FleetRefusedError for a role that is not there."""
    if role and not await connection.fetchval(_ROLE, schema.text(role)):
        raise FleetRefusedError(f"--grant-to: the server has no role named {role}")


async def _rights(connection: Any, role: str) -> list[str]:
    """Return the statements that give a role, if any, what it lacks."""
    if not role:
        return []
    schema_name = await connection.fetchval(
        "SELECT current_schema() WHERE NOT has_schema_privilege($1, current_schema(), 'USAGE')",
        role,
    )
    if schema_name is None:  # the role may use it, as anybody may use `public`
        return schema.grants(role)
    usage = f"GRANT USAGE ON SCHEMA {schema.quoted(schema_name)} TO {schema.quoted(role)}"
    return [usage, *schema.grants(role)]


async def _open_budget(session: Session, rule: str, scope: str) -> OpenBudget:
    rule, scope = schema.text(rule), schema.text(scope)
    found = await session.fetch(_OPEN, rule, scope)
    if not found:
        raise await _unknown(session, rule, scope)
    kinds = sorted({row["window_kind"] for row in found})
    if len(kinds) > 1:
        raise FleetRefusedError(
            f"{rule} has had several windows for {scope}, which are all open: {', '.join(kinds)};"
            " adjust it when the old ones have ended"
        )
    newest = found[0]
    if newest["window_kind"] in TIMELESS:
        raise FleetRefusedError(f"{rule} has the window {kinds[0]}, which cannot be adjusted")
    return OpenBudget(newest["id"], known_meter(newest["meter"]), newest["window_kind"])


async def _unknown(session: Session, rule: str, scope: str) -> UnknownNameError:
    rules = [row["rule"] for row in await session.fetch(_KNOWN_RULES, MAX_KNOWN)]
    if rule not in rules:
        return UnknownNameError(
            f"no limit named {rule} has a budget in a window that is open", rule, rules
        )
    scopes = [row["scope"] for row in await session.fetch(_KNOWN_SCOPES, rule, MAX_KNOWN)]
    return UnknownNameError(
        f"{rule} has no budget for {scope} in a window that is open", scope, scopes
    )


_ROLE = "SELECT 1 FROM pg_roles WHERE rolname = $1"

_LOCK = "SELECT id FROM fleet_budget WHERE id = ANY($1::bytea[]) ORDER BY id FOR UPDATE"
_WRITE_LOCK = "UPDATE fleet_budget SET raises = raises + 1 WHERE id = ANY($1::bytea[])"

_ADJUST = f"""
WITH {statements.CLOCK}
INSERT INTO fleet_adjustment (budget, id, amount, made_by, reason, made_us)
SELECT $1::bytea, $2::text, $3::bigint, $4::text, $5::text, now_us FROM clock
"""  # noqa: S608 - constants of our own

_IS_OPEN = "window_start_us <= now_us AND now_us < window_end_us"
_OPEN = f"""
WITH {statements.CLOCK}
SELECT id, meter, window_kind FROM fleet_budget CROSS JOIN clock
WHERE rule = $1 AND scope = $2 AND {_IS_OPEN} ORDER BY window_start_us DESC
"""  # noqa: S608 - constants of our own
_KNOWN_RULES = f"""
WITH {statements.CLOCK}
SELECT DISTINCT rule FROM fleet_budget CROSS JOIN clock WHERE {_IS_OPEN} ORDER BY rule LIMIT $1
"""  # noqa: S608 - constants of our own
_KNOWN_SCOPES = f"""
WITH {statements.CLOCK}
SELECT DISTINCT scope FROM fleet_budget CROSS JOIN clock
WHERE rule = $1 AND {_IS_OPEN} ORDER BY scope LIMIT $2
"""  # noqa: S608 - constants of our own
