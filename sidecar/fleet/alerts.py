"""Claims in the fleet's books: one holder delivers an alert about what all of them share.

Each holder raises alerts by itself, on the fleet's figures. Before it delivers one to a channel it
claims a row of the books; a claim that is not settled lapses, so that another delivers what a dead
holder did not. While the books cannot be asked, alerts wait for a time, and are then delivered by
all holders that raised them: one too many is better than none.

A channel is known by its name, so that a holder without a webhook leaves that to those with one.
"""

import logging
from collections.abc import Sequence

from sidecar.domain.alerts import Alert, AlertKind, Claim
from sidecar.domain.clock import SECOND_US, Clock
from sidecar.fleet import schema
from sidecar.fleet.connection import BooksConnection
from sidecar.fleet.protocol import FleetRefusedError, FleetUnreachableError
from sidecar.fleet.statements import CLOCK

log = logging.getLogger(__name__)

OF_FLEET = frozenset({
    AlertKind.THRESHOLD,
    AlertKind.BURN,
    AlertKind.KEY_IN_USE,
    AlertKind.MODEL_RETIRES,
    AlertKind.MODEL_RETIRED,
})  # fmt: skip
"""Alerts that say the same whichever holder raises them. The others are about a holder's calls."""

CLAIM_US = 60 * SECOND_US
"""After which another may deliver. No attempt of a channel takes as long."""
PATIENCE_US = 60 * SECOND_US
"""How long alerts wait for books that cannot be asked."""
DEADLINE_SECONDS = 1.0
"""For a transaction: exchanges wait for it."""
MAX_ROWS = 500
"""Alerts in one transaction."""
MAX_OUTCOMES = 10_000
"""Deliveries that are not in the books yet; those above may be delivered again."""

_Rows = dict[bytes, tuple[str, Alert]]
"""Channels and alerts, by the id of their row."""


class FleetClaims:
    """Claims of one holder."""

    def __init__(
        self,
        connection: BooksConnection,
        uid: str,
        steady_clock: Clock,
        *,
        claim_us: int = CLAIM_US,
        patience_us: int = PATIENCE_US,
    ) -> None:
        """Claim for a holder, over the connection of its exchanges."""
        self._connection = connection
        self._uid = uid
        self._steady = steady_clock
        self._claim_us = claim_us
        self._patience_us = patience_us
        self._lost_us: int | None = None
        """Since when the books cannot be asked."""
        self._outcomes: _Rows = {}

    async def claim(self, channel: str, alerts: Sequence[Alert]) -> Sequence[Claim]:
        """See alerts/claims.py, Claims.claim."""
        claims: dict[bytes, Claim] = {}
        is_answered = await self._tell({})
        for some in _parts(_rows(channel, alerts)):
            claims |= await self._claimed(some, is_answered=is_answered)
        return [claims.get(alert_id(channel, alert), Claim.OWN) for alert in alerts]

    async def settle(
        self, channel: str, delivered: Sequence[Alert], others: Sequence[Alert]
    ) -> None:
        """See alerts/claims.py, Claims.settle. What cannot be told now is told later."""
        await self._tell(_rows(channel, delivered))
        for some in _parts(_rows(channel, others)):
            # Nothing waits for that: if it fails, the claims lapse.
            await self._asked(_GIVE_BACK, self._uid, list(some), is_waited_for=False)

    async def _claimed(self, rows: _Rows, *, is_answered: bool) -> dict[bytes, Claim]:
        """Claim some rows, unless the books have just not answered."""
        found = None
        if is_answered:
            found = await self._asked(_CLAIM, self._uid, self._claim_us, *_columns(rows))
        if found is None:
            return dict.fromkeys(rows, Claim.OWN if self._is_patience_over() else Claim.TAKEN)
        return {id_: Claim(result) for id_, result in found}

    async def _tell(self, rows: _Rows) -> bool:
        """Tell the books of what was delivered, now and before; return whether they know it all."""
        self._outcomes |= rows
        for oldest in list(self._outcomes)[: max(0, len(self._outcomes) - MAX_OUTCOMES)]:
            del self._outcomes[oldest]
        for some in _parts(dict(sorted(self._outcomes.items()))):
            if await self._asked(_DELIVERED, self._uid, self._claim_us, *_columns(some)) is None:
                return False
            for told in some:
                self._outcomes.pop(told, None)
        return True

    async def _asked(
        self, statement: str, *arguments: object, is_waited_for: bool = True
    ) -> list[tuple[bytes, str]] | None:
        """Run a statement in a transaction; return ids and results, or None for no answer.

        What is waited for is asked again and again, so that it is known how long the books are
        away.
        """
        try:
            rows = await self._connection.fetch(
                statement,
                *arguments,
                transaction_seconds=DEADLINE_SECONDS,
                deadline_seconds=DEADLINE_SECONDS,
            )
        except (FleetUnreachableError, FleetRefusedError) as error:
            if is_waited_for and self._lost_us is None:
                self._lost_us = self._steady()
                log.warning("the fleet's alerts wait for its books: %s", error)
            return None
        if self._is_patience_over():
            log.info("one sidecar of the fleet delivers each alert again")
        self._lost_us = None
        return [(row["id"], row["result"]) for row in rows]

    def _is_patience_over(self) -> bool:
        return self._lost_us is not None and self._steady() - self._lost_us >= self._patience_us


def alert_id(channel: str, alert: Alert) -> bytes:
    """Return the primary key of an alert in a channel: 128 bits of a hash, as of a budget."""
    names = (channel, alert.kind, alert.rule, alert.window, alert.window_start_us, alert.percent)
    return schema.hash_of((*names, alert.scope))


def _rows(channel: str, alerts: Sequence[Alert]) -> _Rows:
    """Return the rows of the alerts that are the fleet's, in the order in which all lock them."""
    rows = {alert_id(channel, one): (channel, one) for one in alerts if one.kind in OF_FLEET}
    return dict(sorted(rows.items()))


def _parts(rows: _Rows) -> list[_Rows]:
    """Return rows in parts that one transaction takes."""
    items = list(rows.items())
    return [dict(items[at : at + MAX_ROWS]) for at in range(0, len(items), MAX_ROWS)]


def _columns(rows: _Rows) -> list[list[object]]:
    """Return what is written of rows, by column."""
    alerts = [alert for _, alert in rows.values()]
    return [
        list(rows),
        [channel for channel, _ in rows.values()],
        [alert.kind.value for alert in alerts],
        [schema.text(alert.rule) for alert in alerts],
        [schema.text(alert.scope) for alert in alerts],
        [alert.window.value for alert in alerts],
        [alert.window_start_us for alert in alerts],
        [alert.window_end_us for alert in alerts],
        [alert.percent for alert in alerts],
    ]


_NAMES = (
    "id, channel, kind, rule, scope, window_kind, window_start_us, window_end_us, percent,"
    " owner, until_us, delivered_us"
)
_INSERT = f"""
INSERT INTO fleet_alert AS alert ({_NAMES})
SELECT asked.*, $1::text, now_us + $2::bigint, {{delivered_us}} FROM unnest(
    $3::bytea[], $4::text[], $5::text[], $6::text[], $7::text[], $8::text[], $9::bigint[],
    $10::bigint[], $11::bigint[]
) AS asked (id, channel, kind, rule, scope, window_kind, window_start_us, window_end_us, percent)
CROSS JOIN clock ORDER BY id
"""  # noqa: S608 - constants of our own

# A claim that is inserted beside this transaction is not visible in it: that row is another's.
_CLAIM = f"""
WITH {CLOCK}, claimed AS (
    {_INSERT.format(delivered_us="NULL")}
    ON CONFLICT (id) DO UPDATE SET owner = excluded.owner, until_us = excluded.until_us
    WHERE alert.delivered_us IS NULL
        AND (alert.owner = excluded.owner OR alert.until_us <= excluded.until_us - $2::bigint)
    RETURNING id
)
SELECT asked.id, CASE WHEN claimed.id IS NOT NULL THEN '{Claim.OWN}'
    WHEN alert.delivered_us IS NOT NULL THEN '{Claim.DELIVERED}' ELSE '{Claim.TAKEN}' END AS result
FROM unnest($3::bytea[]) AS asked (id)
LEFT JOIN claimed ON claimed.id = asked.id LEFT JOIN fleet_alert AS alert ON alert.id = asked.id
"""  # noqa: S608 - constants of our own

_DELIVERED = f"""
WITH {CLOCK}
{_INSERT.format(delivered_us="now_us")}
ON CONFLICT (id) DO UPDATE SET delivered_us = excluded.delivered_us
    WHERE alert.delivered_us IS NULL
RETURNING id, '{Claim.DELIVERED}' AS result
"""
"""A row may be missing: it was delivered without a claim, or books that lost commits lost it."""

_GIVE_BACK = f"""
UPDATE fleet_alert AS alert SET until_us = 0 FROM (
    SELECT id FROM fleet_alert
    WHERE owner = $1 AND id = ANY($2::bytea[]) AND delivered_us IS NULL ORDER BY id FOR UPDATE
) AS own WHERE alert.id = own.id
RETURNING alert.id, '{Claim.TAKEN}' AS result
"""  # noqa: S608 - constants of our own
