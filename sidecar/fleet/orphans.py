"""Orphans: what vanished holders have of budgets, and how operators sign what they spent (G7).

A calendar share of a holder that is not heard of counts as spent until its window ends: it may have
been. Who knows better signs it. From then on the holder is fenced: its ledger, should it come
back, would go on with the share that it has on its disk.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from sidecar.domain.clock import SECOND_US
from sidecar.domain.decisions import Meter
from sidecar.domain.sharing import TIMELESS
from sidecar.domain.windows import Window
from sidecar.fleet import schema, statements
from sidecar.fleet.operations import MAX_KNOWN, UnknownNameError, lock_budgets, operate
from sidecar.fleet.protocol import FleetRefusedError
from sidecar.fleet.session import Session
from sidecar.fleet.status import known_meter, known_window

RECENT_US = 120 * SECOND_US
"""A holder that was heard of since may come back by itself."""


class OrphanShare(NamedTuple):
    """A holder's share of a budget in a window that is open."""

    budget: bytes
    rule: str
    meter: Meter
    window: Window
    scope: str
    start_us: int
    end_us: int
    granted: int
    spent: int
    held: int

    @property
    def used(self) -> int:
        """What the holder has reported as used."""
        return self.spent + self.held


class Orphan(NamedTuple):
    """A holder with its shares of windows that are open, as of one moment."""

    uid: str
    name: str
    boot: int
    version: int
    seen_us: int
    forgotten_us: int
    now_us: int
    is_learning: bool
    """Whether the books lost commits, of which it may have been heard (G8)."""
    shares: Sequence[OrphanShare]

    @property
    def is_recent(self) -> bool:
        """Whether it was heard of a moment ago."""
        return self.now_us - self.seen_us < RECENT_US


async def find(url_file: Path, uid: str) -> Orphan:
    """Return a holder and its shares.

    Raises UnknownNameError, FleetRefusedError, FleetUnreachableError.
    """
    return await operate(url_file, lambda session: _find(session, uid))


async def forget(
    url_file: Path, planned: Orphan, signed: Mapping[bytes, int], signed_by: str, reason: str
) -> None:
    """Make shares what an operator signs that was spent of them, by budget; fence the holder.

    Raises FleetRefusedError if anything is no more as it was planned, and FleetUnreachableError.
    """

    async def work(session: Session) -> None:
        # The holder first, then its budgets in their order, as exchanges do.
        await session.fetch(_LOCK, planned.uid)
        await lock_budgets(session, [share.budget for share in planned.shares])
        found = await _find(session, planned.uid)
        if found._replace(now_us=planned.now_us) != planned:
            raise FleetRefusedError(
                f"nothing was changed: the holder {planned.uid} was heard of in between, or a"
                " window has ended; look again"
            )
        budgets = list(signed)
        await session.fetch(
            _RECORD, planned.uid, budgets, list(signed.values()), signed_by, reason, found.now_us
        )
        if not budgets:
            await session.fetch(_RECORD_ALONE, planned.uid, signed_by, reason, found.now_us)
        await session.fetch(_SIGN, planned.uid, budgets, list(signed.values()))
        await session.fetch(_FENCE, planned.uid, found.now_us)

    await operate(url_file, work)


async def _find(session: Session, uid: str) -> Orphan:
    rows = await session.fetch(_HOLDER, schema.text(uid))
    if not rows:
        known = [row["uid"] for row in await session.fetch(_KNOWN, MAX_KNOWN)]
        raise UnknownNameError(f"the fleet has no holder {uid}", uid, known)
    [holder] = rows
    shares = [
        OrphanShare(
            **{
                **row,
                "meter": known_meter(row["meter"]),
                "window": known_window(row["window"]),
            }
        )
        for row in await session.fetch(_SHARES, uid)
    ]
    return Orphan(**holder, shares=shares)


_LOCK = "SELECT uid FROM fleet_holder WHERE uid = $1 FOR UPDATE"
_KNOWN = "SELECT uid FROM fleet_holder ORDER BY seen_us LIMIT $1"

_HOLDER = f"""
WITH {statements.CLOCK}
SELECT uid, name, boot, version, seen_us, forgotten_us, now_us,
    now_us < recover_until_us AS is_learning
FROM fleet_holder CROSS JOIN fleet CROSS JOIN clock WHERE uid = $1
"""  # noqa: S608 - constants of our own

# Also of windows that begin soon. Timeless shares end by themselves.
_SHARES = f"""
WITH {statements.CLOCK}
SELECT budget.id AS budget, rule, meter, window_kind AS "window", scope,
    window_start_us AS start_us, window_end_us AS end_us, granted, spent, held
FROM fleet_share AS share JOIN fleet_budget AS budget ON budget.id = share.budget CROSS JOIN clock
WHERE uid = $1 AND now_us < window_end_us
    AND window_kind NOT IN ({", ".join(f"'{window}'" for window in TIMELESS)})
ORDER BY granted::numeric - spent - held DESC, rule, scope, window_start_us, id
"""  # noqa: S608 - constants of our own

_RECORD = """
INSERT INTO fleet_forgotten
    (uid, budget, made_us, granted, spent, held, signed, made_by, reason)
SELECT uid, share.budget, $6::bigint, granted, spent, held, signed, $4::text, $5::text
FROM fleet_share AS share
JOIN unnest($2::bytea[], $3::bigint[]) AS one (budget, signed) ON one.budget = share.budget
WHERE uid = $1::text
"""
_RECORD_ALONE = """
INSERT INTO fleet_forgotten
    (uid, budget, made_us, granted, spent, held, signed, made_by, reason)
SELECT $1::text, ''::bytea, $4::bigint, 0, 0, 0, 0, $2::text, $3::text
"""
"""Of a holder without shares that are open: its use of keys is not waited for any more."""
_SIGN = """
UPDATE fleet_share SET granted = signed, spent = signed, held = 0
FROM unnest($2::bytea[], $3::bigint[]) AS one (budget, signed)
WHERE one.budget = fleet_share.budget AND uid = $1::text
"""
_FENCE = "UPDATE fleet_holder SET forgotten_us = $2 WHERE uid = $1"
