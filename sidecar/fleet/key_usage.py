"""The use of keys over a fleet: each holder reports its own counts, and an audit reads the sums.

A report has absolute figures, which replace the holder's last ones (G10), so that a repeat counts
nothing twice. It is what the view `key_usage` of the ledger says.
"""

import asyncio
import logging
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from random import SystemRandom
from typing import NamedTuple

from sidecar.domain.clock import SECOND_US
from sidecar.domain.decisions import Effect
from sidecar.domain.keys import KeyUse
from sidecar.fleet import schema
from sidecar.fleet.books import MAX_SUM
from sidecar.fleet.connection import BooksConnection
from sidecar.fleet.operations import operate
from sidecar.fleet.protocol import FleetRefusedError, FleetUnreachableError
from sidecar.fleet.session import Row, Session
from sidecar.fleet.statements import CLOCK
from sidecar.ledger.key_reports import KeyFacts, key_use
from sidecar.ledger.protocol import LedgerRefusedError

log = logging.getLogger(__name__)

EVERY_SECONDS = 30.0
SOON_SECONDS = 1.0
"""Until the next report where the books do not have the holder yet."""
DEADLINE_SECONDS = 1.0
"""For a transaction: exchanges wait for it."""
MAX_ROWS = 500
"""Rows in one transaction."""
SILENT_US = 120 * SECOND_US
"""A holder that has not reported for so long may have used keys since."""
MAX_SILENT = 1000
"""Silent holders that are read."""

_Use = tuple[str, str, str]
"""A key's name, a model and an effect."""
_Count = tuple[int, int, int]
"""The first and the last use, and the number of decisions."""


class KeyReporter:
    """Reports the use of keys by one holder."""

    def __init__(
        self,
        connection: BooksConnection,
        uid: str,
        read_facts: Callable[[], KeyFacts],
        read_version_uses: Callable[[Collection[str], int], Mapping[str, tuple[int, int]]],
    ) -> None:
        """Report what the ledger has, over the connection of the exchanges.

        `read_version_uses` reads the uses of versions by decisions after a row id.
        """
        self._connection = connection
        self._uid = uid
        self._read_facts = read_facts
        self._read_version_uses = read_version_uses
        self._decision = 0
        """Up to which the uses of versions that rotate are told."""
        self._told_uses: dict[_Use, _Count] = {}
        self._told_since: dict[str, int] = {}
        self._is_failing = False

    async def run(self) -> None:
        """Report every now and then, until cancelled."""
        random = SystemRandom()
        while True:
            pause_seconds = EVERY_SECONDS if await self.report() else SOON_SECONDS
            await asyncio.sleep(pause_seconds * random.uniform(0.8, 1.2))

    async def report(self, *, leaving: bool = False) -> bool:
        """Report what has changed, and that this is all; return whether the books have the holder.

        A holder that leaves uses no key until its next report.
        """
        try:
            facts = await asyncio.to_thread(self._read_facts)
            await self._tell(facts)
            await self._tell_versions(facts.decision)
            is_known = await self._mark(leaving=leaving)
        except (LedgerRefusedError, FleetUnreachableError, FleetRefusedError) as error:
            if not self._is_failing:
                log.warning("the fleet does not hear of the use of keys for now: %s", error)
            self._is_failing = True
            return True
        self._is_failing = False
        return is_known

    async def _tell(self, facts: KeyFacts) -> None:
        uses = [(use, n) for use, n in _counts(facts).items() if self._told_uses.get(use) != n]
        for at in range(0, len(uses), MAX_ROWS):
            some = uses[at : at + MAX_ROWS]
            columns = zip(*((*use, *count) for use, count in some), strict=True)
            await self._write(_WRITE_USES, *map(list, columns))
            self._told_uses.update(some)
        since = [one for one in facts.since_us.items() if self._told_since.get(one[0]) != one[1]]
        for at in range(0, len(since), MAX_ROWS):
            keys = since[at : at + MAX_ROWS]
            texts = {schema.text(key): since_us for key, since_us in keys}
            await self._write(_WRITE_SINCE, list(texts), list(texts.values()))
            self._told_since.update(keys)

    async def _tell_versions(self, decision: int) -> None:
        """Tell of versions in rotation, which this ledger may not have.

        Those of a rotation that begins after this look are used after `decision`.
        """
        rotating = await self._fetch(_ROTATING)
        versions = {row[name] for row in rotating for name in ("old_version", "new_version")}
        if versions:
            uses = await asyncio.to_thread(self._read_version_uses, versions, self._decision)
            if uses:
                columns = zip(*((version, *use) for version, use in uses.items()), strict=True)
                await self._write(_WRITE_VERSIONS, *map(list, columns))
        self._decision = decision

    async def _mark(self, *, leaving: bool) -> bool:
        return bool(await self._write(_MARK, leaving))

    async def _write(self, statement: str, *arguments: object) -> int:
        """Run a statement for this holder; return how many rows it returns."""
        return len(await self._fetch(statement, self._uid, *arguments))

    async def _fetch(self, statement: str, *arguments: object) -> list[Row]:
        """Run a statement in a transaction."""
        return await self._connection.fetch(
            statement,
            *arguments,
            transaction_seconds=DEADLINE_SECONDS,
            deadline_seconds=DEADLINE_SECONDS,
        )


def _counts(facts: KeyFacts) -> dict[_Use, _Count]:
    """Return the uses by what the books can write of their names, of which two may be the same."""
    counts: dict[_Use, _Count] = {}
    for use in facts.uses:
        effect = Effect.ALLOW if use.allowed else Effect.DENY
        names = (schema.text(str(use.name)), schema.text(use.model), effect.value)
        first_us, last_us, decisions = counts.get(names, (use.first_us, use.last_us, 0))
        counts[names] = (
            min(first_us, use.first_us),
            max(last_us, use.last_us),
            min(decisions + use.decisions, MAX_SUM),
        )
    return counts


class SilentHolder(NamedTuple):
    """A holder that may have used keys which it has not reported."""

    uid: str
    name: str
    keys_us: int
    """When it reported the use of keys for the last time; 0 for never."""


class FleetKeyFacts(NamedTuple):
    """The use of keys over all holders."""

    since_us: dict[str, int]
    """By key, when the first holder began to count."""
    uses: list[KeyUse]
    silent: Sequence[SilentHolder]


async def read(url_file: Path) -> FleetKeyFacts:
    """Read the use of keys from the books. Raises FleetRefusedError, FleetUnreachableError."""
    return await operate(url_file, _read, isolation="REPEATABLE READ, READ ONLY")


async def _read(session: Session) -> FleetKeyFacts:
    return FleetKeyFacts(
        {row["key_id"]: row["since_us"] for row in await session.fetch(_SINCE)},
        [key_use(**row) for row in await session.fetch(_USES)],
        await silent_holders(session),
    )


async def silent_holders(session: Session, within_us: int = MAX_SUM) -> list[SilentHolder]:
    """Return the holders that do not report, and were heard of within some time."""
    rows = await session.fetch(_SILENT, MAX_SILENT, within_us)
    return [SilentHolder(**row) for row in rows]


_WRITE_USES = """
INSERT INTO fleet_key_usage AS known
    (uid, key_id, model, effect, first_used_us, last_used_us, decisions)
SELECT $1::text, * FROM unnest(
    $2::text[], $3::text[], $4::text[], $5::bigint[], $6::bigint[], $7::bigint[]
) AS told (key_id, model, effect, first_used_us, last_used_us, decisions)
ON CONFLICT (uid, key_id, model, effect) DO UPDATE SET
    first_used_us = excluded.first_used_us, last_used_us = excluded.last_used_us,
    decisions = excluded.decisions
"""
_WRITE_SINCE = """
INSERT INTO fleet_key (uid, key_id, since_us)
SELECT $1::text, * FROM unnest($2::text[], $3::bigint[]) AS told (key_id, since_us)
ON CONFLICT (uid, key_id) DO UPDATE SET since_us = excluded.since_us
"""
# A look has but the decisions since the last one.
_WRITE_VERSIONS = """
INSERT INTO fleet_version_usage AS known (uid, version, first_used_us, last_used_us)
SELECT $1::text, * FROM unnest($2::text[], $3::bigint[], $4::bigint[])
    AS told (version, first_used_us, last_used_us)
ON CONFLICT (uid, version) DO UPDATE SET
    first_used_us = least(known.first_used_us, excluded.first_used_us),
    last_used_us = greatest(known.last_used_us, excluded.last_used_us)
"""
_MARK = f"""
WITH {CLOCK}
UPDATE fleet_holder SET keys_us = now_us, left_us = CASE WHEN $2::boolean THEN now_us ELSE 0 END
FROM clock WHERE uid = $1::text RETURNING uid
"""  # noqa: S608 - constants of our own

_ROTATING = "SELECT old_version, new_version FROM fleet_rotation WHERE new_version <> ''"
_SINCE = "SELECT key_id, min(since_us) AS since_us FROM fleet_key GROUP BY key_id"
_USES = f"""
SELECT key_id, model, effect, min(first_used_us) AS first_us, max(last_used_us) AS last_us,
    least(sum(decisions), {MAX_SUM})::bigint AS decisions
FROM fleet_key_usage GROUP BY key_id, model, effect ORDER BY key_id, model, effect
"""  # noqa: S608 - constants of our own
_SILENT = f"""
WITH {CLOCK}
SELECT uid, name, keys_us FROM fleet_holder CROSS JOIN clock
WHERE forgotten_us = 0 AND left_us = 0 AND keys_us <= now_us - {SILENT_US}
    AND seen_us > now_us - $2::bigint
ORDER BY keys_us, uid LIMIT $1
"""  # noqa: S608 - constants of our own
