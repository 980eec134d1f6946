"""The SQL of an exchange. Each statement is one round trip."""

from sidecar.domain.sharing import MARGIN_US, lapses_us
from sidecar.domain.windows import Window
from sidecar.fleet.books import LIVE_US, MAX_SUM


def begin(milliseconds: int, isolation: str | None, *, has_jit: bool) -> str:
    """Return what begins a transaction; without an isolation level, the server's default.

    Nothing of it outlives the transaction, so that poolers may give each to another session. A
    process that stands still in the middle of one must not keep its locks from the fleet, and must
    not commit much later what was true then. PostgreSQL's just-in-time compiler takes longer than
    an exchange: 40 to 600 ms where it expects many rows.
    """
    level = "" if isolation is None else f" ISOLATION LEVEL {isolation}"
    return (
        f"BEGIN{level}; SET LOCAL statement_timeout = {milliseconds};"
        f" SET LOCAL lock_timeout = {milliseconds};"
        f" SET LOCAL idle_in_transaction_session_timeout = {milliseconds}"
        + ("; SET LOCAL jit = off" if has_jit else "")
    )


PROBE_TIMELINE = "SELECT pg_walfile_name(pg_current_wal_lsn())"
"""Distributed engines and some managed services have no such functions."""

PROBE_JIT = "SHOW jit"

TYPES = "SELECT $1::bytea[], $2::text[], $3::bigint[]"
"""The driver asks what arrays are, in four round trips for each statement that has new ones. Here
it does so before an exchange, whose time is short."""

LOCK = """
WITH own AS (
    SELECT boot, nonce, version, forgotten_us FROM fleet_holder WHERE uid = $1 FOR UPDATE
), locked AS (
    SELECT id FROM fleet_budget WHERE id = ANY($2::bytea[]) ORDER BY id FOR UPDATE
)
SELECT own.boot, own.nonce, own.version, own.forgotten_us,
    (SELECT count(*) FROM locked) AS locked
FROM (SELECT 1) AS one LEFT JOIN own ON true
"""
"""Budgets are locked in one order, so that no two exchanges wait for each other."""

INSERT_BUDGETS = """
INSERT INTO fleet_budget (id, rule, meter, window_kind, scope, window_start_us, window_end_us)
SELECT * FROM unnest(
    $1::bytea[], $2::text[], $3::text[], $4::text[], $5::text[], $6::bigint[], $7::bigint[]
) AS budget (id, rule, meter, window_kind, scope, window_start_us, window_end_us)
ORDER BY id
ON CONFLICT (id) DO NOTHING
"""


def sum_of(expression: str) -> str:
    """Return the SQL of a sum that stays within MAX_SUM; the sum of BIGINTs is NUMERIC."""
    return f"greatest(least(coalesce(sum({expression}), 0), {MAX_SUM}), -{MAX_SUM})::bigint"


# What domain/sharing.py, lapses_us, says of one share.
COUNTS = f"""
    CASE budget.window_kind
    WHEN '{Window.MINUTE}' THEN now_us < share.seen_us + {lapses_us(Window.MINUTE, 0, 0)}
    WHEN '{Window.CONCURRENT}' THEN now_us < share.seen_us + {lapses_us(Window.CONCURRENT, 0, 0)}
        OR now_us - {MARGIN_US} < share.busy_until_us
    ELSE true END
"""


CLOCK = """clock AS MATERIALIZED (
    SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint AS now_us
)"""


def read(*, has_timeline: bool) -> str:
    """Return what reads all that an exchange needs, once its budgets are locked."""
    timeline = "substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8)" if has_timeline else "'0'"
    return f"""
WITH {CLOCK}
SELECT
    now_us, {timeline} AS timeline,
    fleet_id, least_version, time_zone, fleet.timeline AS known_timeline, recover_until_us,
    (SELECT count(*) FROM fleet_holder WHERE uid <> $1 AND seen_us > now_us - {LIVE_US}) AS others,
    budget.id, budget.short_at_us,
    (SELECT {sum_of("amount")} FROM fleet_adjustment AS adjustment
        WHERE adjustment.budget = budget.id) AS adjusted,
    own.granted AS own_granted, own.spent AS own_spent, own.held AS own_held,
    own.ceiling AS own_ceiling, own.busy_until_us AS own_busy_until_us, own.seen_us AS own_seen_us,
    sums.*
FROM fleet CROSS JOIN clock
LEFT JOIN fleet_budget AS budget ON budget.id = ANY($2::bytea[])
LEFT JOIN fleet_share AS own ON own.budget = budget.id AND own.uid = $1
LEFT JOIN LATERAL (
    SELECT {sum_of("greatest(granted::numeric, spent::numeric + held)")} AS taken,
        {sum_of("spent")} AS spent, {sum_of("held")} AS held,
        {sum_of("greatest(granted::numeric - spent - held, 0)")} AS free
    FROM fleet_share AS share
    WHERE share.budget = budget.id AND share.uid <> $1 AND {COUNTS}
) AS sums ON true
WHERE fleet.id = 1
"""  # noqa: S608 - constants of our own


# A locked budget is written, too: where a transaction reads the rows of its beginning (REPEATABLE
# READ), a lock alone would not keep two of them from granting the same room.
_WRITE = """
WITH holder AS ({holder}), budget AS (
    UPDATE fleet_budget SET raises = raises + 1,
        short_at_us = CASE WHEN id = ANY($8::bytea[]) THEN $6::bigint ELSE short_at_us END
    WHERE id = ANY($7::bytea[])
)
INSERT INTO fleet_share
    (budget, uid, granted, spent, held, ceiling, busy_until_us, asked_ceiling, seen_us)
SELECT budget, $1::text, granted, spent, held, ceiling, busy_until_us, asked_ceiling, $6::bigint
FROM unnest(
    $9::bytea[], $10::bigint[], $11::bigint[], $12::bigint[], $13::bigint[], $14::bigint[],
    $15::bigint[]
) AS share (budget, granted, spent, held, ceiling, busy_until_us, asked_ceiling)
ON CONFLICT (budget, uid) DO UPDATE SET
    granted = excluded.granted, spent = excluded.spent, held = excluded.held,
    ceiling = excluded.ceiling, busy_until_us = excluded.busy_until_us,
    asked_ceiling = excluded.asked_ceiling, seen_us = excluded.seen_us
"""

WRITE_FIRST = _WRITE.format(
    holder="INSERT INTO fleet_holder (uid, boot, nonce, version, name, seen_us)"
    " VALUES ($1::text, $2::bigint, $3::text, $4::bigint, $5::text, $6::bigint)"
)
"""It fails if another transaction has inserted the same holder."""

WRITE = _WRITE.format(
    holder="UPDATE fleet_holder SET boot = $2::bigint, nonce = $3::text, version = $4::bigint,"
    " name = $5::text, seen_us = $6::bigint WHERE uid = $1::text"
)

WRITE_FLEET = """
UPDATE fleet SET timeline = greatest(timeline, $1::bigint),
    recover_until_us = greatest(recover_until_us, $2::bigint)
"""
"""Two exchanges may find at the same time that commits were lost."""
