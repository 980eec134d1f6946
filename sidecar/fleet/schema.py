"""The tables of the books on PostgreSQL, and the steps that make them.

There are no triggers, functions, sequences, notifications or advisory locks, so that poolers and
distributed engines take them, and no foreign keys: their checks lock the row that they refer to.
No sum is kept beside its parts (L8): what is granted of a budget is read from its shares.

    fleet            one row
    fleet_holder     one for each ledger
    fleet_budget     one for each limit's scope in one window
    fleet_share      one for each holder of a budget; `reported` is what of its spend is in
                     fleet_spend
    fleet_spend      one for each holder, day and names: what was spent, as reported last; or by
                     rule (by_rule = 1), where principals have no names
    fleet_alert      one for each channel of an alert that is the fleet's
    fleet_key        one for each holder and key whose use it counts
    fleet_key_usage  one for each holder, and name of a key, model and effect
    fleet_rotation   one for each key that was rotated: who does, and which versions both work
    fleet_version_usage  one for each holder and version of a key that rotates
    fleet_forgotten  what operators have signed of vanished holders' shares
"""

import json
import secrets
from collections.abc import Sequence
from hashlib import sha256
from typing import TYPE_CHECKING

from sidecar.domain.sharing import BudgetKey
from sidecar.fleet.protocol import FleetRefusedError

if TYPE_CHECKING:
    from asyncpg import Connection

_FIRST = """
CREATE TABLE fleet_holder (
    uid      TEXT PRIMARY KEY,
    boot     BIGINT NOT NULL,
    nonce    TEXT NOT NULL,
    version  BIGINT NOT NULL,
    seen_us  BIGINT NOT NULL,
    name     TEXT NOT NULL,
    forgotten_us BIGINT NOT NULL DEFAULT 0,
    keys_us  BIGINT NOT NULL DEFAULT 0,
    left_us  BIGINT NOT NULL DEFAULT 0
);
CREATE TABLE fleet_budget (
    id              BYTEA PRIMARY KEY,
    rule            TEXT NOT NULL,
    meter           TEXT NOT NULL,
    window_kind     TEXT NOT NULL,
    scope           TEXT NOT NULL,
    window_start_us BIGINT NOT NULL,
    window_end_us   BIGINT NOT NULL,
    short_at_us     BIGINT NOT NULL DEFAULT 0,
    raises          BIGINT NOT NULL DEFAULT 0
);
CREATE TABLE fleet_share (
    budget        BYTEA NOT NULL,
    uid           TEXT NOT NULL,
    granted       BIGINT NOT NULL,
    spent         BIGINT NOT NULL,
    held          BIGINT NOT NULL,
    ceiling       BIGINT NOT NULL,
    asked_ceiling BIGINT NOT NULL,
    busy_until_us BIGINT NOT NULL,
    seen_us       BIGINT NOT NULL,
    reported      BIGINT NOT NULL DEFAULT 0,
    PRIMARY KEY (budget, uid)
);
CREATE TABLE fleet_adjustment (
    budget    BYTEA NOT NULL,
    id        TEXT NOT NULL,
    amount    BIGINT NOT NULL,
    made_by   TEXT NOT NULL,
    reason    TEXT NOT NULL,
    made_us   BIGINT NOT NULL,
    PRIMARY KEY (budget, id)
);
CREATE TABLE fleet_forgotten (
    uid       TEXT NOT NULL,
    budget    BYTEA NOT NULL,
    made_us   BIGINT NOT NULL,
    granted   BIGINT NOT NULL,
    spent     BIGINT NOT NULL,
    held      BIGINT NOT NULL,
    signed    BIGINT NOT NULL,
    made_by   TEXT NOT NULL,
    reason    TEXT NOT NULL,
    PRIMARY KEY (uid, budget, made_us)
);
CREATE TABLE fleet_alert (
    id              BYTEA PRIMARY KEY,
    channel         TEXT NOT NULL,
    kind            TEXT NOT NULL,
    rule            TEXT NOT NULL,
    scope           TEXT NOT NULL,
    window_kind     TEXT NOT NULL,
    window_start_us BIGINT NOT NULL,
    window_end_us   BIGINT NOT NULL,
    percent         BIGINT NOT NULL,
    owner           TEXT NOT NULL,
    until_us        BIGINT NOT NULL,
    delivered_us    BIGINT
);
CREATE TABLE fleet_key (
    uid      TEXT NOT NULL,
    key_id   TEXT NOT NULL,
    since_us BIGINT NOT NULL,
    PRIMARY KEY (uid, key_id)
);
CREATE TABLE fleet_key_usage (
    uid           TEXT NOT NULL,
    key_id        TEXT NOT NULL,
    model         TEXT NOT NULL,
    effect        TEXT NOT NULL,
    first_used_us BIGINT NOT NULL,
    last_used_us  BIGINT NOT NULL,
    decisions     BIGINT NOT NULL,
    PRIMARY KEY (uid, key_id, model, effect)
);
CREATE TABLE fleet_rotation (
    key_id      TEXT PRIMARY KEY,
    owner       TEXT NOT NULL,
    until_us    BIGINT NOT NULL,
    old_version TEXT NOT NULL DEFAULT '',
    new_version TEXT NOT NULL DEFAULT '',
    since_us    BIGINT NOT NULL DEFAULT 0
);
CREATE TABLE fleet_version_usage (
    uid           TEXT NOT NULL,
    version       TEXT NOT NULL,
    first_used_us BIGINT NOT NULL,
    last_used_us  BIGINT NOT NULL,
    PRIMARY KEY (uid, version)
);
CREATE TABLE fleet_spend (
    uid           TEXT NOT NULL,
    day_us        BIGINT NOT NULL,
    id            BYTEA NOT NULL,
    by_rule       BIGINT NOT NULL,
    rule          TEXT NOT NULL,
    workspace     TEXT NOT NULL,
    role          TEXT NOT NULL,
    principal     TEXT NOT NULL,
    model         TEXT NOT NULL,
    key_id        TEXT NOT NULL,
    calls         BIGINT NOT NULL,
    input_tokens  BIGINT NOT NULL,
    output_tokens BIGINT NOT NULL,
    cost          BIGINT NOT NULL,
    overruns      BIGINT NOT NULL,
    expired       BIGINT NOT NULL,
    unknown_cost  BIGINT NOT NULL,
    PRIMARY KEY (uid, day_us, id)
)
"""

STEPS = (_FIRST,)
"""The steps to the tables of now. A released one never changes, and each only adds."""

VERSION = len(STEPS)

LEAST_VERSION = 1
"""Sidecars that know this version can use the tables of now, too. A step that they could not go on
with raises it: then all sidecars are upgraded before `init` is repeated."""

_FLEET = """
CREATE TABLE IF NOT EXISTS fleet (
    id               BIGINT PRIMARY KEY CHECK (id = 1),
    fleet_id         TEXT NOT NULL,
    schema_version   BIGINT NOT NULL,
    least_version    BIGINT NOT NULL,
    time_zone        TEXT NOT NULL,
    timeline         BIGINT NOT NULL,
    recover_until_us BIGINT NOT NULL
)
"""

_INSERT = (
    "INSERT INTO fleet VALUES (1, {fleet_id}, 0, 0, {time_zone}, 0, 0) ON CONFLICT (id) DO NOTHING"
)
_UPDATE = f"UPDATE fleet SET schema_version = {VERSION}, least_version = {LEAST_VERSION}"  # noqa: S608 - numbers

_WRITTEN = (
    "fleet_holder, fleet_budget, fleet_share, fleet_alert, fleet_key, fleet_key_usage,"
    " fleet_rotation, fleet_version_usage, fleet_spend"
)
_RIGHTS = (
    "GRANT SELECT, UPDATE ON fleet TO {role}",
    "GRANT SELECT, INSERT, UPDATE ON {tables} TO {role}",
    "GRANT SELECT ON fleet_adjustment, fleet_forgotten TO {role}",
)


def budget_id(key: BudgetKey) -> bytes:
    """Return the primary key of a budget: 128 bits of a hash of its own.

    The names themselves would be repeated in each share, and compared in each look-up. Of 63 bits
    two could be the same, which would have to be found out; of 128 they are not.
    """
    return hash_of((key.rule, key.meter, key.window, str(key.start_us), key.scope))


def spend_id(names: Sequence[str]) -> bytes:
    """Return the primary key of a holder's spend in a day: names may be too long for an index."""
    return hash_of(names)


def hash_of(names: Sequence[str | int]) -> bytes:
    """Return a primary key of 128 bits for names, which may have any text."""
    return sha256(json.dumps(names).encode()).digest()[:16]


def check(needed: int) -> None:
    """Raise FleetRefusedError for tables that need a sidecar of a newer version than this."""
    if needed > VERSION:
        raise FleetRefusedError(
            f"the fleet's tables need a sidecar that knows version {needed} of them, and this one"
            f" knows {VERSION}: use a newer sidecar"
        )


def check_time_zone(known: str, wanted: str) -> None:
    """Raise FleetRefusedError if a fleet would get another time zone than it has."""
    if known != wanted:
        raise FleetRefusedError(
            f"the fleet's windows are in the time zone {known}, and cannot move to {wanted}, since"
            f" shares of them may be in use: give --time-zone {known}"
        )


async def version(connection: "Connection") -> int:
    """Return the version of the tables; 0 if there are none. Raises the driver's errors."""
    if await connection.fetchval("SELECT to_regclass('fleet')") is None:
        return 0
    return int(await connection.fetchval("SELECT schema_version FROM fleet") or 0)


async def init(connection: "Connection", time_zone: str) -> str:
    """Make the tables, or what they lack; return the id of the fleet. May be repeated.

    Raises FleetRefusedError for a newer version or another time zone, and the driver's errors.
    """
    async with connection.transaction():
        await connection.execute(_FLEET)
        await connection.execute(
            _INSERT.format(fleet_id="$1", time_zone="$2"), secrets.token_hex(16), time_zone
        )
        fleet = await connection.fetchrow(
            "SELECT fleet_id, schema_version, time_zone FROM fleet FOR UPDATE"
        )
        check(fleet["schema_version"])
        check_time_zone(fleet["time_zone"], time_zone)
        for step in STEPS[fleet["schema_version"] :]:
            await connection.execute(step)
        await connection.execute(_UPDATE)
    return str(fleet["fleet_id"])


def statements(before: int, time_zone: str) -> list[str]:
    """Return what `init` does on tables of a version; 0 is none."""
    if before == VERSION:
        return []
    made = [] if before else [_FLEET, _insert_of_new(time_zone)]
    steps = [one for step in STEPS[before:] for one in step.split(";")]
    return [one.strip() for one in (*made, *steps, _UPDATE)]


def _insert_of_new(time_zone: str) -> str:
    fleet_id, quoted = secrets.token_hex(16), time_zone.replace("'", "''")
    return _INSERT.format(fleet_id=f"'{fleet_id}'", time_zone=f"'{quoted}'")


def grants(role: str) -> list[str]:
    """Return the statements that give a role the rights of a sidecar, and no others.

    It makes no tables, deletes no rows, and adjusts nothing.
    """
    return [right.format(role=quoted(role), tables=_WRITTEN) for right in _RIGHTS]


def quoted(name: str) -> str:
    """Return a name as an identifier of SQL."""
    return '"' + name.replace('"', '""') + '"'


def text(name: str) -> str:
    """Return a name as a column takes it, which has no NUL. Ids have all of it."""
    return name.replace("\0", "\N{REPLACEMENT CHARACTER}").encode(errors="replace").decode()
