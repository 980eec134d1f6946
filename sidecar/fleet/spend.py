"""What a holder has spent, reported to the fleet's books by days and names.

Every half minute the sums of the days that have changed are read from the ledger, as
`sidecar spend` reads them, compared with the holder's rows in the books, and written where they
differ. So a report says what is, whatever became of those before it (G10). Days are those of the
fleet's time zone.

A report ends with how much of each share's spend of money it covers. What a share has beyond that
is unaccounted: see spend_report.py.
"""

import asyncio
from collections.abc import Iterable, Mapping
from datetime import tzinfo
from pathlib import Path
from typing import NamedTuple

from sidecar.domain.clock import SECOND_US, Clock
from sidecar.domain.sharing import BudgetKey
from sidecar.domain.spend_report import COST, OTHERS, SUM_NAMES, Dimension, Spend, sums_of
from sidecar.domain.windows import DAY_US, HOUR_US, Calendar, Span, Window
from sidecar.fleet import schema
from sidecar.fleet.books import MAX_SUM
from sidecar.fleet.connection import BooksConnection
from sidecar.fleet.session import Row
from sidecar.ledger.daily_spend import DailySpend
from sidecar.ledger.shares import Holder

MAX_PRINCIPALS = 1_000
"""The largest of a day, which are reported by name; the others are summed up."""
MAX_ROWS = 4_000
"""Rows of a holder and day, of each kind, beside one of all others: callers may invent names."""

BATCH_ROWS = 200
"""Rows in one transaction: exchanges wait for it."""
TRANSACTION_SECONDS = 0.5
"""For one transaction, until its connection is given up."""
DEADLINE_SECONDS = 2.0
"""For its turn among the exchanges, and a new connection, too."""

MARGIN_US = 60 * SECOND_US
"""A charge may be committed this long after the time that it has: it waited for its group."""
LATE_US = DAY_US
"""Each report looks at the day so long ago, too. Calls that are settled later are rare."""
ALL_DAYS_US = HOUR_US
"""How often a report looks at all days that the ledger has."""

# The kinds of rows. Each call counts in both.
BY = (Dimension.WORKSPACE, Dimension.ROLE, Dimension.PRINCIPAL, Dimension.MODEL, Dimension.KEY)
BY_RULE = (Dimension.RULE, Dimension.WORKSPACE, Dimension.ROLE, Dimension.MODEL, Dimension.KEY)

Sums = tuple[int, ...]
"""Of one row, as SUM_NAMES has them."""


class Names(NamedTuple):
    """What a row of fleet_spend is of."""

    by_rule: int
    rule: str
    workspace: str
    role: str
    principal: str
    model: str
    key_id: str

    @property
    def id(self) -> bytes:
        """Its part of the primary key."""
        return schema.spend_id([str(self.by_rule), *self[1:]])


NO_NAMES = Names(0, "", "", "", "", "", "")

Rows = Mapping[bytes, tuple[Names, Sums]]


class SpendReporter:
    """Reports a ledger's spend to the fleet's books."""

    def __init__(
        self, connection: BooksConnection, ledger: Path, holder: Holder, zone: tzinfo, clock: Clock
    ) -> None:
        """Report as this holder; the clock is that of decisions."""
        self._connection = connection
        self._holder = holder
        self._calendar = Calendar(zone)
        self._clock = clock
        self._daily = DailySpend(ledger, zone, after=holder.reported_after)
        self._since_us: int | None = None
        """Up to when changes are in the books; None before the first report."""
        self._all_us = 0
        """When a report looked at all days."""
        self._covered: dict[BudgetKey, int] = {}

    async def report(self) -> None:
        """Report the days that have changed.

        Raises FleetUnreachableError, FleetRefusedError, LedgerUnavailableError.
        """
        now_us = self._clock()
        is_all = self._since_us is None or now_us - self._all_us >= ALL_DAYS_US
        if self._since_us is None:
            since_us = await self._last_reported_us(now_us)
        else:
            since_us = (self._all_us if is_all else self._since_us) - MARGIN_US
        from_us = 0 if is_all else now_us - LATE_US
        changes = await self._daily.changes(since_us, self._day(from_us), now_us)
        for day in changes.days:
            await self._report_day(day, by_rule=0)
        await self._cover(changes.charged, is_all=is_all)
        for day in changes.days:  # last, as it takes the longest to read
            await self._report_day(day, by_rule=1)
        self._since_us = changes.at_us
        if is_all:
            self._all_us = changes.at_us

    def stop(self) -> None:
        """End what is read of the ledger now."""
        self._daily.stop()

    def _day(self, at_us: int) -> int:
        return self._calendar.span(Window.DAY, at_us).start_us

    async def _last_reported_us(self, now_us: int) -> int:
        """Return since when not all changes may be in the books: the last day that they have.

        Days are reported in their order, so a report that ended half way goes on there.
        """
        [row] = await self._fetch(_LAST_DAY, self._holder.uid)
        return min(row["day_us"], self._day(now_us)) if row["kinds"] == len((BY, BY_RULE)) else 0

    async def _report_day(self, day: Span, by_rule: int) -> None:
        """Make the books' rows of a day those of the ledger: the rows of one kind."""
        found = await self._daily.spend(day, (BY, BY_RULE)[by_rule], MAX_PRINCIPALS)
        own = await self._fetch(_OWN, self._holder.uid, day.start_us, by_rule)
        changed = await asyncio.to_thread(_changed, by_rule, found, own)  # up to 0.1 s
        for start in range(0, len(changed), BATCH_ROWS):
            batch = changed[start : start + BATCH_ROWS]
            texts = [[schema.text(one) for one in map(str, names[1:])] for _, names, _ in batch]
            await self._fetch(
                _WRITE,
                self._holder.uid,
                self._holder.boot,
                day.start_us,
                [row_id for row_id, _, _ in batch],
                [names.by_rule for _, names, _ in batch],
                *(list(column) for column in zip(*texts, strict=True)),
                *(list(column) for column in zip(*(sums for *_, sums in batch), strict=True)),
            )

    async def _cover(self, charged: Mapping[BudgetKey, int], *, is_all: bool) -> None:
        """Note how much of the shares' spend is in the rows now."""
        changed = [
            (key, spent)
            for key, spent in charged.items()
            if is_all or self._covered.get(key) != spent
        ]
        self._covered = {} if is_all else self._covered
        for start in range(0, len(changed), BATCH_ROWS):
            batch = changed[start : start + BATCH_ROWS]
            budgets = [schema.budget_id(key) for key, _ in batch]
            spent = [min(one, MAX_SUM) for _, one in batch]
            await self._fetch(_COVER, self._holder.uid, self._holder.boot, budgets, spent)
            self._covered.update(batch)

    async def _fetch(self, statement: str, *arguments: object) -> list[Row]:
        """Run a statement in a transaction of its own."""
        return await self._connection.fetch(
            statement,
            *arguments,
            transaction_seconds=TRANSACTION_SECONDS,
            deadline_seconds=DEADLINE_SECONDS,
        )


Changed = tuple[bytes, Names, Sums]
"""A row to write, after its id."""


def _changed(by_rule: int, found: Iterable[Spend], own: Iterable[Row]) -> list[Changed]:
    """Return what to write, so that the holder's own rows are what was found."""
    known = {row["id"]: tuple(row[name] for name in SUM_NAMES) for row in own}
    rows = bounded([(_names(by_rule, row), sums_of(row)) for row in found], known)
    return different(rows, known)


def bounded(rows: Iterable[tuple[Names, Sums]], known: Iterable[bytes]) -> Rows:
    """Return rows by their ids: those that the books know, and the largest others that fit."""
    before = set(known)
    room = MAX_ROWS - len(before)
    found: dict[bytes, tuple[Names, Sums]] = {}
    for names, sums in sorted(rows, key=lambda row: -row[1][COST]):
        kept, row_id = names, names.id
        if row_id not in before:
            if room <= 0:
                kept = Names(names.by_rule, *[OTHERS] * 6)
                row_id = kept.id
            room -= 1
        _, so_far = found.get(row_id, (kept, (0,) * len(sums)))
        total = tuple(min(a + b, MAX_SUM) for a, b in zip(so_far, sums, strict=True))
        found[row_id] = kept, total
    return found


def different(rows: Rows, known: Mapping[bytes, Sums]) -> list[Changed]:
    """Return what has to be written; a row that is no more gets sums of 0.

    First what costs less than before: a report that ends half way counts no money twice.
    """
    nothing = (0,) * len(SUM_NAMES)
    wanted = {**dict.fromkeys(known, (NO_NAMES, nothing)), **rows}
    changed = [
        (row_id, names, sums)
        for row_id, (names, sums) in wanted.items()
        if known.get(row_id) != sums
    ]
    return sorted(changed, key=lambda row: row[2][COST] - known.get(row[0], nothing)[COST])


def _names(by_rule: int, row: Spend) -> Names:
    if not by_rule:
        return Names(0, "", *row.names)
    rule, workspace, role, *others = row.names
    return Names(1, rule, workspace, role, "", *others)


_LAST_DAY = """
SELECT min(day_us) AS day_us, count(*) AS kinds
FROM (SELECT max(day_us) AS day_us FROM fleet_spend WHERE uid = $1 GROUP BY by_rule) AS last
"""

_OWN = (
    f"SELECT id, {', '.join(SUM_NAMES)} FROM fleet_spend"  # noqa: S608 - our own names
    " WHERE uid = $1 AND day_us = $2 AND by_rule = $3"
)

# A process that another has replaced (G5) writes nothing.
_IS_HOLDER = "EXISTS (SELECT 1 FROM fleet_holder WHERE uid = $1::text AND boot = $2::bigint)"

_COLUMNS = ", ".join(("id", *Names._fields, *SUM_NAMES))
_TYPES = ("bytea", "bigint", *["text"] * 6, *["bigint"] * len(SUM_NAMES))
_ARRAYS = ", ".join(f"${number}::{kind}[]" for number, kind in enumerate(_TYPES, start=4))
_WRITE = f"""
INSERT INTO fleet_spend (uid, day_us, {_COLUMNS})
SELECT $1::text, $3::bigint, {_COLUMNS} FROM unnest({_ARRAYS}) AS one ({_COLUMNS})
WHERE {_IS_HOLDER}
ON CONFLICT (uid, day_us, id) DO UPDATE SET
    {", ".join(f"{name} = excluded.{name}" for name in SUM_NAMES)}
"""  # noqa: S608 - our own names

_COVER = f"""
UPDATE fleet_share SET reported = one.spent
FROM unnest($3::bytea[], $4::bigint[]) AS one (budget, spent)
WHERE fleet_share.budget = one.budget AND uid = $1::text AND reported <> one.spent
    AND {_IS_HOLDER}
"""  # noqa: S608 - our own names
