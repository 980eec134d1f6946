"""The tables, views and migrations of a ledger file.

Times are microseconds since the epoch (`_us`), money is nano-USD. The views
have readable times in UTC (`_utc`), and USD (`_usd`).
"""

from sqlite_utils import Database, Migrations

from sidecar.ledger import chain, key_tables

APPLICATION_ID = 0x4D53504C
"""The application id in the file's header: "MSPL", a spend ledger."""

migrations = Migrations("spend-ledger")

_TABLES = """
-- Every policy set that a decision was made with.
CREATE TABLE policy_sets (
  id INTEGER PRIMARY KEY,
  digest TEXT NOT NULL UNIQUE
) STRICT;

-- Every version of a price that a hold was valued at, with its multipliers.
CREATE TABLE prices (
  id INTEGER PRIMARY KEY,
  price_id TEXT NOT NULL,
  content TEXT NOT NULL,
  UNIQUE (price_id, content)
) STRICT;

-- Every decision. reasons, shadow_reasons and budgets are JSON.
CREATE TABLE decisions (
  id INTEGER PRIMARY KEY,
  decision_id TEXT NOT NULL UNIQUE,
  request_id TEXT UNIQUE,
  fingerprint BLOB NOT NULL,
  decided_at_us INTEGER NOT NULL,
  effect TEXT NOT NULL CHECK (effect IN ('allow', 'deny')),
  principal TEXT NOT NULL,
  role TEXT NOT NULL,
  workspace TEXT NOT NULL,
  key_id TEXT NOT NULL,
  model_requested TEXT NOT NULL,
  model TEXT NOT NULL,
  endpoint TEXT NOT NULL,
  max_output_tokens INTEGER NOT NULL,
  reasons TEXT NOT NULL,
  shadow_reasons TEXT NOT NULL,
  budgets TEXT NOT NULL,
  retry_after_us INTEGER NOT NULL,
  policy_set INTEGER NOT NULL REFERENCES policy_sets (id),
  policy_generation INTEGER NOT NULL
) STRICT;

-- The hold of an allowed decision, and how it ended. The held_ columns are the
-- worst case; the charged_ columns are 0 while open. outcome is from Settle or
-- Release, "unknown" when expired.
CREATE TABLE holds (
  id INTEGER PRIMARY KEY REFERENCES decisions (id),
  hold_id TEXT NOT NULL UNIQUE,
  state TEXT NOT NULL CHECK (state IN ('open', 'settled', 'released', 'expired')),
  expires_at_us INTEGER NOT NULL,
  closed_at_us INTEGER,
  price INTEGER REFERENCES prices (id),
  service_tier TEXT NOT NULL,
  batch INTEGER NOT NULL,
  region TEXT NOT NULL,
  held_input_tokens INTEGER NOT NULL,
  held_output_tokens INTEGER NOT NULL,
  held_pages INTEGER NOT NULL,
  held_audio_seconds INTEGER NOT NULL,
  held_cost_nano_usd INTEGER NOT NULL,
  charged_input_tokens INTEGER NOT NULL DEFAULT 0,
  charged_output_tokens INTEGER NOT NULL DEFAULT 0,
  charged_cached_input_tokens INTEGER NOT NULL DEFAULT 0,
  charged_pages INTEGER NOT NULL DEFAULT 0,
  charged_audio_seconds INTEGER NOT NULL DEFAULT 0,
  charged_cost_nano_usd INTEGER NOT NULL DEFAULT 0,
  overrun INTEGER NOT NULL DEFAULT 0,
  outcome TEXT NOT NULL DEFAULT '',
  response_model TEXT NOT NULL DEFAULT ''
) STRICT;
CREATE INDEX holds_open ON holds (expires_at_us) WHERE state = 'open';

-- One limit in one window for one scope. A sliding minute has a row for each
-- second with admissions, which counts until its window_end. ceiling is that of
-- the latest admission, NULL for unlimited.
CREATE TABLE budgets (
  id INTEGER PRIMARY KEY,
  rule TEXT NOT NULL,
  window TEXT NOT NULL,
  meter TEXT NOT NULL,
  scope TEXT NOT NULL,
  window_start_us INTEGER NOT NULL,
  window_end_us INTEGER NOT NULL,
  ceiling INTEGER,
  spent INTEGER NOT NULL DEFAULT 0,
  held INTEGER NOT NULL DEFAULT 0,
  UNIQUE (rule, window, meter, scope, window_start_us)
) STRICT;

-- The amounts that a hold reserves on each budget, and was charged there.
CREATE TABLE hold_amounts (
  hold INTEGER NOT NULL REFERENCES holds (id),
  budget INTEGER NOT NULL REFERENCES budgets (id),
  held INTEGER NOT NULL,
  charged INTEGER NOT NULL DEFAULT 0,
  charge_on_expiry INTEGER NOT NULL,
  PRIMARY KEY (hold, budget)
) STRICT, WITHOUT ROWID;
CREATE INDEX hold_amounts_by_budget ON hold_amounts (budget);
"""

_VIEWS = """
CREATE VIEW decision_log AS
SELECT datetime(decided_at_us / 1000000, 'unixepoch') AS decided_at_utc, effect, principal, role,
  workspace, model_requested, model, endpoint,
  (SELECT group_concat(value ->> 'code', ', ') FROM json_each(reasons)) AS reasons,
  (SELECT group_concat(value ->> 'rule', ', ') FROM json_each(shadow_reasons)) AS shadow_rules,
  decision_id,
  request_id
FROM decisions ORDER BY id;

CREATE VIEW open_holds AS
SELECT hold_id, datetime(expires_at_us / 1000000, 'unixepoch') AS expires_at_utc, principal,
  workspace, model, held_input_tokens + held_output_tokens AS held_tokens,
  printf('$%d.%09d', held_cost_nano_usd / 1000000000, held_cost_nano_usd % 1000000000)
    AS held_cost_usd
FROM holds JOIN decisions USING (id) WHERE state = 'open' ORDER BY expires_at_us;

CREATE VIEW spend_by_team_model_day AS
SELECT date(decided_at_us / 1000000, 'unixepoch') AS day_utc, workspace, role, model,
  count(*) AS calls, sum(charged_input_tokens) AS input_tokens,
  sum(charged_output_tokens) AS output_tokens,
  printf('$%d.%09d', sum(charged_cost_nano_usd) / 1000000000,
    sum(charged_cost_nano_usd) % 1000000000) AS cost_usd, sum(overrun) AS overruns
FROM holds JOIN decisions USING (id) WHERE state IN ('settled', 'expired')
GROUP BY 1, 2, 3, 4;

CREATE VIEW budgets_by_window AS
SELECT rule, scope, window, meter, datetime(window_start_us / 1000000, 'unixepoch') AS from_utc,
  CASE WHEN window <> 'concurrent' THEN datetime(window_end_us / 1000000, 'unixepoch') END
    AS until_utc,
  ceiling, spent, held, ceiling - spent - held AS remaining
FROM budgets ORDER BY rule, scope, window_start_us;
"""


@migrations(name="0001_first_ledger")
def first_ledger(db: Database) -> None:
    """Create the tables and views of the first ledger."""
    for statement in (_TABLES + _VIEWS).split(";\n"):
        if statement.strip():
            db.execute(statement)


_CHAIN = """
-- The SHA-256 of the previous link and this decision: see sidecar/ledger/chain.py.
ALTER TABLE decisions ADD COLUMN chain BLOB NOT NULL DEFAULT x'';

-- The last decision that was pruned, with its link: the next decision follows it.
CREATE TABLE pruned (
  decision INTEGER NOT NULL,
  chain BLOB NOT NULL
) STRICT;

-- Signed corrections and one-off grants. A negative amount adds room.
CREATE TABLE adjustments (
  id INTEGER PRIMARY KEY,
  adjusted_at_us INTEGER NOT NULL,
  budget INTEGER NOT NULL REFERENCES budgets (id),
  amount INTEGER NOT NULL,
  signed_by TEXT NOT NULL,
  reason TEXT NOT NULL,
  chain BLOB NOT NULL
) STRICT;
CREATE INDEX adjustments_by_budget ON adjustments (budget);

CREATE VIEW adjustment_log AS
SELECT datetime(adjusted_at_us / 1000000, 'unixepoch') AS adjusted_at_utc, rule, scope, window,
  meter, amount, signed_by, reason
FROM adjustments JOIN budgets ON budgets.id = budget ORDER BY adjustments.id;
"""


@migrations(name="0002_chain_and_adjustments")
def chain_and_adjustments(db: Database) -> None:
    """Add the hash chain, and the table of adjustments."""
    for statement in _CHAIN.split(";\n"):
        if statement.strip():
            db.execute(statement)
    chain.link_all(db.conn)


_ALERTS = """
-- One alert for each kind, rule, window, scope and threshold: see sidecar/domain/alerts.py.
-- For a sliding minute the window is a minute of the clock, for a concurrent limit an hour.
CREATE TABLE alerts (
  id INTEGER PRIMARY KEY,
  alert_id TEXT NOT NULL UNIQUE,
  kind TEXT NOT NULL CHECK (kind IN ('threshold', 'overrun', 'expired', 'burn')),
  raised_at_us INTEGER NOT NULL,
  rule TEXT NOT NULL,
  scope TEXT NOT NULL,
  meter TEXT NOT NULL,
  window TEXT NOT NULL,
  window_start_us INTEGER NOT NULL,
  window_end_us INTEGER NOT NULL,
  percent INTEGER NOT NULL,
  ceiling INTEGER,
  spent INTEGER NOT NULL,
  held INTEGER NOT NULL,
  usual INTEGER,
  shadow INTEGER NOT NULL,
  UNIQUE (kind, rule, window, scope, window_start_us, percent)
) STRICT;
CREATE INDEX alerts_by_end ON alerts (window_end_us);

-- The delivery of each alert to each channel. delivered_at_us is NULL until an attempt
-- succeeds; next_at_us is when the next attempt is due.
CREATE TABLE alert_deliveries (
  alert INTEGER NOT NULL REFERENCES alerts (id),
  channel TEXT NOT NULL,
  attempts INTEGER NOT NULL DEFAULT 0,
  next_at_us INTEGER NOT NULL DEFAULT 0,
  delivered_at_us INTEGER,
  last_error TEXT NOT NULL DEFAULT '',
  PRIMARY KEY (alert, channel)
) STRICT, WITHOUT ROWID;
CREATE INDEX alert_deliveries_owed ON alert_deliveries (channel, next_at_us)
  WHERE delivered_at_us IS NULL;

CREATE VIEW alert_log AS
SELECT datetime(raised_at_us / 1000000, 'unixepoch') AS raised_at_utc, kind, rule, scope, window,
  datetime(window_start_us / 1000000, 'unixepoch') AS from_utc, nullif(percent, 0) AS percent,
  meter, spent, held, ceiling, usual, shadow,
  (SELECT json_group_array(json_object('channel', channel, 'attempts', attempts,
      'delivered_at_utc', datetime(delivered_at_us / 1000000, 'unixepoch'),
      'last_error', last_error))
    FROM alert_deliveries WHERE alert = alerts.id) AS deliveries,
  alert_id
FROM alerts ORDER BY id;
"""

_BURNING = """
-- The hourly cost budgets, for burn alerts. With the condition window = 'hour', SQLite
-- would plan the query of every decision again, to compare its parameter with that.
CREATE INDEX budgets_cost_by_hour ON budgets (window_start_us)
  WHERE window || ' ' || meter = 'hour cost';
"""


@migrations(name="0003_alerts")
def alerts(db: Database) -> None:
    """Add alerts, and their deliveries."""
    _execute(db, _ALERTS)
    _execute(db, _BURNING)


@migrations(name="0004_keys")
def keys(db: Database) -> None:
    """Add the versions of keys, and their rotations."""
    _execute(db, key_tables.KEYS)


@migrations(name="0005_key_usage")
def key_usage(db: Database) -> None:
    """Add the usage of keys, which is kept when decisions are pruned."""
    _execute(db, key_tables.USAGE)


@migrations(name="0006_alerts_of_keys")
def alerts_of_keys(db: Database) -> None:
    """Add alerts of keys. A CHECK cannot be altered, so the tables are made again."""
    tables = ("alerts", "alert_deliveries")
    for table in tables:
        db.execute(f"CREATE TEMP TABLE kept_{table} AS SELECT * FROM {table}")  # noqa: S608
    _execute(db, "DROP VIEW alert_log;\nDROP TABLE alert_deliveries;\nDROP TABLE alerts")
    _execute(db, _ALERTS.replace("'burn')", "'burn', 'key_in_use')"))
    for table in tables:
        db.execute(f"INSERT INTO {table} SELECT * FROM temp.kept_{table}")  # noqa: S608
        db.execute(f"DROP TABLE temp.kept_{table}")


_UNITS = """
-- Speech is billed by the character, annotated pages at a price of their own, and some tools
-- by the call: a JSON object with the count for each tool's name, '' for none.
ALTER TABLE holds ADD COLUMN held_characters INTEGER NOT NULL DEFAULT 0;
ALTER TABLE holds ADD COLUMN held_annotated_pages INTEGER NOT NULL DEFAULT 0;
ALTER TABLE holds ADD COLUMN held_tool_calls TEXT NOT NULL DEFAULT '';
ALTER TABLE holds ADD COLUMN charged_characters INTEGER NOT NULL DEFAULT 0;
ALTER TABLE holds ADD COLUMN charged_annotated_pages INTEGER NOT NULL DEFAULT 0;
ALTER TABLE holds ADD COLUMN charged_tool_calls TEXT NOT NULL DEFAULT '';
"""


@migrations(name="0007_units")
def units(db: Database) -> None:
    """Add characters, annotated pages and tool calls to holds."""
    _execute(db, _UNITS)


@migrations(name="0008_unrecognized_usage")
def unrecognized_usage(db: Database) -> None:
    """Mark the holds whose reported usage had no known count."""
    db.execute("ALTER TABLE holds ADD COLUMN unrecognized_usage INTEGER NOT NULL DEFAULT 0")


_COUNTED_BY = """SELECT a.hold FROM hold_amounts a JOIN budgets b ON b.id = a.budget
    JOIN holds h ON h.id = a.hold WHERE h.state = 'expired' AND b.window <> 'concurrent'
    AND b.meter = '{meter}'"""
_RELEASED_BY = f"{_COUNTED_BY} GROUP BY 1 HAVING max(a.charge_on_expiry) = 0"

_UNKNOWN = f"""
-- What all limits of a meter released of an expired hold is not spend: the charged_ columns
-- are what budgets were charged.
UPDATE holds SET charged_input_tokens = 0, charged_output_tokens = 0,
  charged_cached_input_tokens = 0
WHERE id IN ({_RELEASED_BY.format(meter="tokens")})
  OR id IN ({_RELEASED_BY.format(meter="cost")})
    AND id NOT IN ({_COUNTED_BY.format(meter="tokens")});
UPDATE holds SET charged_pages = 0, charged_audio_seconds = 0, charged_characters = 0,
  charged_annotated_pages = 0, charged_tool_calls = '', charged_cost_nano_usd = 0
WHERE id IN ({_RELEASED_BY.format(meter="cost")});

DROP VIEW spend_by_team_model_day;
CREATE VIEW spend_by_team_model_day AS
SELECT day_utc, workspace, role, model, calls, input_tokens, output_tokens,
  printf('$%d.%09d', cost / 1000000000, cost % 1000000000) AS cost_usd, overruns,
  printf('$%d.%09d', unknown / 1000000000, unknown % 1000000000) AS unknown_outcome_usd
FROM (
  SELECT date(decided_at_us / 1000000, 'unixepoch') AS day_utc, workspace, role, model,
    count(*) AS calls, sum(charged_input_tokens) AS input_tokens,
    sum(charged_output_tokens) AS output_tokens, sum(charged_cost_nano_usd) AS cost,
    sum(overrun) AS overruns,
    sum((state = 'expired') * (held_cost_nano_usd - charged_cost_nano_usd)) AS unknown
  FROM holds JOIN decisions USING (id) WHERE state IN ('settled', 'expired')
  GROUP BY 1, 2, 3, 4
);

-- The sidecar that raised an alert, its share of every ceiling, and the undivided ceiling.
ALTER TABLE alerts ADD COLUMN instance TEXT NOT NULL DEFAULT '';
ALTER TABLE alerts ADD COLUMN share TEXT NOT NULL DEFAULT '';
ALTER TABLE alerts ADD COLUMN undivided_ceiling INTEGER;
"""  # noqa: S608 - our own text


@migrations(name="0009_unknown_outcomes_and_shares")
def unknown_outcomes_and_shares(db: Database) -> None:
    """Take out of spend what no budget was charged, and add the origin of alerts."""
    _execute(db, _UNKNOWN)


_LONG_WINDOWS = """
-- The anchor of the window, as of its latest admission: the day of the month, or the weekday
-- from 1 for Monday, and the hour.
ALTER TABLE budgets ADD COLUMN starts_on INTEGER NOT NULL DEFAULT 1;
ALTER TABLE budgets ADD COLUMN starts_at INTEGER NOT NULL DEFAULT 0;

-- The opening balance: what pruned holds were charged, which is a part of spent. NULL where
-- none was pruned.
ALTER TABLE budgets ADD COLUMN opening INTEGER;
CREATE INDEX budgets_with_opening ON budgets (window_end_us) WHERE opening IS NOT NULL;

-- Each pruning, as a link of the chain of decisions: it follows the decision of this row id.
-- pruned is the last decision that was deleted, with its link. openings is the digest of all
-- opening balances: see sidecar/ledger/chain.py.
CREATE TABLE prunings (
  id INTEGER PRIMARY KEY,
  follows INTEGER NOT NULL,
  pruned INTEGER NOT NULL,
  pruned_chain BLOB NOT NULL,
  openings BLOB NOT NULL,
  chain BLOB NOT NULL
) STRICT;
"""


@migrations(name="0010_long_windows")
def long_windows(db: Database) -> None:
    """Add anchors and opening balances, and make prunings a part of the chain."""
    _execute(db, _LONG_WINDOWS)
    for decision, link in db.execute("SELECT decision, chain FROM pruned").fetchall():
        chain.DecisionChain(db.conn).prune(decision, link)
    db.execute("DROP TABLE pruned")


def _execute(db: Database, statements: str) -> None:
    for statement in statements.split(";\n"):
        if statement.strip():
            db.execute(statement)


_KNOWN = {migration.name for migration in migrations.pending(Database(memory=True))}


def unknown_migrations(db: Database) -> list[str]:
    """Return the names of applied migrations that this version does not know.

    If there are any, a newer version wrote the file.
    """
    return sorted({migration.name for migration in migrations.applied(db)} - _KNOWN)
