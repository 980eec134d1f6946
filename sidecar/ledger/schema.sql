-- The tables and views of a ledger file, as all files of migrations/ together make them. To be
-- read, and compared with a new ledger by tests/ledger/test_schema.py: a migration changes both.
--
-- Times are microseconds since the epoch (_us), money is nano-USD. The views have readable times
-- in UTC (_utc), and USD (_usd).

-- One row. A marker outside of the ledger's folder names it: see ledger_marker.py.
CREATE TABLE ledger_identity (
  ledger_id TEXT NOT NULL
) STRICT;

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

-- The retirement of a model, as the data files had it at its latest decision. replaced_by is ''
-- where they name no replacement.
CREATE TABLE model_retirements (
  model TEXT PRIMARY KEY,
  retires_at_us INTEGER NOT NULL,
  replaced_by TEXT NOT NULL
) STRICT, WITHOUT ROWID;

-- Every allowed decision, and the denied ones of before version 0015. In request_id, char(31) and
-- a digest follow the id: of the principal who has proven to be its owner, else of principal and
-- workspace. Before version 0012 there is the id alone. fingerprint is x'' where there is no
-- request_id, since version 0017. reasons and shadow_reasons are JSON. budgets is a JSON list, with
-- [budget, seconds, ceiling, spent, held] for each budget in the answer since version 0017; seconds
-- is the length of a window that has an end. Those of before are as in denials. chain is the SHA-256 of the previous link and this decision: see chain.py. decision_id has the
-- row's id, in hexadecimal, since version 0016.
CREATE TABLE decisions (
  id INTEGER PRIMARY KEY,
  decision_id TEXT NOT NULL,
  request_id TEXT,
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
  policy_generation INTEGER NOT NULL,
  chain BLOB NOT NULL DEFAULT x''
) STRICT;
CREATE UNIQUE INDEX decisions_by_request_id ON decisions (request_id) WHERE request_id IS NOT NULL;

-- The latest denials since version 0015; earlier ones are in decisions. Decisions and denials have
-- one sequence of ids; number counts denials alone. dropped is how many had made room for newer
-- ones by then. request_id and fingerprint are as in decisions. budgets is a JSON list, with
-- [rule, meter, scope, window_start_us, window_end_us, ceiling, spent, held] for each. chain is the SHA-256 of the link of the denial
-- before and of all other columns: see chain.py.
CREATE TABLE denials (
  id INTEGER PRIMARY KEY,
  number INTEGER NOT NULL,
  dropped INTEGER NOT NULL,
  decision_id TEXT NOT NULL,
  request_id TEXT UNIQUE,
  fingerprint BLOB NOT NULL,
  decided_at_us INTEGER NOT NULL,
  principal TEXT NOT NULL,
  role TEXT NOT NULL,
  workspace TEXT NOT NULL,
  key_id TEXT NOT NULL,
  model_requested TEXT NOT NULL,
  model TEXT NOT NULL,
  endpoint TEXT NOT NULL,
  reasons TEXT NOT NULL,
  shadow_reasons TEXT NOT NULL,
  budgets TEXT NOT NULL,
  retry_after_us INTEGER NOT NULL,
  policy_set INTEGER NOT NULL REFERENCES policy_sets (id),
  policy_generation INTEGER NOT NULL,
  chain BLOB NOT NULL
) STRICT;

-- One row: the number and link of the last denial that was dropped or pruned; 0 before the first.
-- The oldest that is left follows it.
CREATE TABLE denials_gone (
  number INTEGER NOT NULL,
  chain BLOB NOT NULL
) STRICT;

-- All decisions that are kept, in their order. The casts give both halves the same types, without
-- which SQLite would read all rows for each query.
CREATE VIEW all_decisions AS
SELECT id, decision_id, request_id, fingerprint, decided_at_us, effect, principal, role, workspace,
  key_id, model_requested, model, endpoint, max_output_tokens, reasons, shadow_reasons, budgets,
  retry_after_us, policy_set, policy_generation
FROM decisions
UNION ALL
SELECT id, decision_id, request_id, fingerprint, decided_at_us, CAST('deny' AS TEXT), principal,
  role, workspace, key_id, model_requested, model, endpoint, CAST(0 AS INTEGER), reasons,
  shadow_reasons, budgets, retry_after_us, policy_set, policy_generation
FROM denials ORDER BY id;

-- The hold of an allowed decision, and how it ended. The held_ columns are the
-- worst case; the charged_ columns are 0 while open. outcome is from Settle or
-- Release, "unknown" when expired. The _tool_calls are a JSON object with the count for each
-- tool's name, '' for none. unrecognized_usage is 1 where the reported usage had no known count.
-- amounts is a JSON list, with [budget, held, charge_on_expiry, charged] for each budget that the hold
-- counts in, by its id: the view hold_amounts has them as rows. hold_id has the row's id, in
-- hexadecimal, since version 0016; earlier ones have no "-", and an index.
CREATE TABLE holds (
  id INTEGER PRIMARY KEY REFERENCES decisions (id),
  hold_id TEXT NOT NULL,
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
  response_model TEXT NOT NULL DEFAULT '',
  held_characters INTEGER NOT NULL DEFAULT 0,
  held_annotated_pages INTEGER NOT NULL DEFAULT 0,
  held_tool_calls TEXT NOT NULL DEFAULT '',
  charged_characters INTEGER NOT NULL DEFAULT 0,
  charged_annotated_pages INTEGER NOT NULL DEFAULT 0,
  charged_tool_calls TEXT NOT NULL DEFAULT '',
  unrecognized_usage INTEGER NOT NULL DEFAULT 0,
  amounts TEXT NOT NULL
) STRICT;
CREATE INDEX holds_open ON holds (expires_at_us) WHERE state = 'open';
CREATE UNIQUE INDEX holds_earlier_ids ON holds (hold_id) WHERE instr(hold_id, '-') = 0;

-- One limit in one window for one scope. A sliding minute has a row for each
-- second with admissions, which counts until its window_end. ceiling is that of
-- the latest admission, NULL for unlimited. starts_on and starts_at are the window's anchor as of
-- that admission: the day of the month, or the weekday from 1 for Monday, and the hour. opening is
-- the part of spent that pruned holds were charged, NULL where none was pruned. counted_at_us is the
-- time of the latest admission: the row of a rule that counted last shows its meter, window and
-- anchor in force. It is 0 where no admission was since version 0010. holds is the number of the holds
-- that are kept and count in the row.
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
  starts_on INTEGER NOT NULL DEFAULT 1,
  starts_at INTEGER NOT NULL DEFAULT 0,
  opening INTEGER,
  counted_at_us INTEGER NOT NULL DEFAULT 0,
  holds INTEGER NOT NULL DEFAULT 0,
  UNIQUE (rule, window, meter, scope, window_start_us)
) STRICT;
CREATE INDEX budgets_with_opening ON budgets (window_end_us) WHERE opening IS NOT NULL;
-- For burn alerts. With the condition window = 'hour', SQLite would plan the query of every
-- decision again, to compare its parameter with that.
CREATE INDEX budgets_cost_by_hour ON budgets (window_start_us)
  WHERE window || ' ' || meter = 'hour cost';

-- The budgets in the answer to each decision, in their order, as they were then.
CREATE VIEW decision_budgets AS
SELECT d.id AS decision, a.key AS place,
  iif(b.id IS NULL, a.value ->> 0, b.rule) AS rule,
  iif(b.id IS NULL, a.value ->> 1, b.meter) AS meter,
  iif(b.id IS NULL, a.value ->> 2, b.scope) AS scope,
  CASE WHEN b.id IS NULL THEN a.value ->> 3 WHEN b.window = 'minute' THEN d.decided_at_us - 60000000
    WHEN b.window <> 'concurrent' THEN b.window_start_us END AS window_start_us,
  CASE WHEN b.id IS NULL THEN a.value ->> 4 WHEN b.window = 'minute' THEN d.decided_at_us
    ELSE b.window_start_us + (a.value ->> 1) * 1000000 END AS window_end_us,
  iif(b.id IS NULL, a.value ->> 5, a.value ->> 2) AS ceiling,
  iif(b.id IS NULL, a.value ->> 6, a.value ->> 3) AS spent,
  iif(b.id IS NULL, a.value ->> 7, a.value ->> 4) AS held
FROM all_decisions d, json_each(d.budgets) a
LEFT JOIN budgets b ON json_array_length(a.value) = 5 AND b.id = a.value ->> 0;

-- The amounts that a hold reserves on each budget, and was charged there: a row for each entry of
-- amounts in holds.
CREATE VIEW hold_amounts AS
SELECT h.id AS hold, a.value ->> 0 AS budget, a.value ->> 1 AS held, a.value ->> 3 AS charged,
  a.value ->> 2 AS charge_on_expiry
FROM holds h, json_each(h.amounts) a;

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

-- A ledger that is a holder in a fleet, and its shares of the fleet's budgets. Empty without a fleet.

-- One row. boot counts the starts of sidecars on this ledger; version is that of the last answer of
-- the fleet's books that is in `shares`; timeline is the highest of PostgreSQL that it has seen.
-- reported_after is the last decision when the ledger got this place: what was spent until then was
-- reported from the one before.
CREATE TABLE holder (
  id INTEGER PRIMARY KEY CHECK (id = 1),
  uid TEXT NOT NULL,
  fleet_id TEXT NOT NULL,
  boot INTEGER NOT NULL,
  version INTEGER NOT NULL,
  timeline INTEGER NOT NULL,
  reported_after INTEGER NOT NULL DEFAULT 0
) STRICT;

-- What this ledger may admit up to, with all that is spent and held on the budget here; and what the
-- books said of the other holders then. A minute and a concurrent limit have one row, which starts
-- at 0.
CREATE TABLE shares (
  rule TEXT NOT NULL,
  meter TEXT NOT NULL,
  window TEXT NOT NULL,
  scope TEXT NOT NULL,
  window_start_us INTEGER NOT NULL,
  window_end_us INTEGER NOT NULL,
  granted INTEGER NOT NULL,
  ceiling INTEGER NOT NULL,
  others_spent INTEGER NOT NULL,
  others_held INTEGER NOT NULL,
  others_free INTEGER NOT NULL,
  room INTEGER NOT NULL,
  as_of_us INTEGER NOT NULL,
  PRIMARY KEY (rule, meter, window, scope, window_start_us)
) STRICT, WITHOUT ROWID;

-- Each pruning, as a link of the chain of decisions: it follows the decision of this row id.
-- pruned is the last decision that was deleted, with its link. openings is the digest of all
-- opening balances: see chain.py. Windows that ended before before_us may have been deleted; it is 0
-- where that is not known, before version 0015.
CREATE TABLE prunings (
  id INTEGER PRIMARY KEY,
  follows INTEGER NOT NULL,
  pruned INTEGER NOT NULL,
  pruned_chain BLOB NOT NULL,
  openings BLOB NOT NULL,
  chain BLOB NOT NULL,
  before_us INTEGER NOT NULL DEFAULT 0
) STRICT;

-- Each correction of the ledger's time: from the time of its latest decision, which has the row id
-- follows, to an earlier one. chain is the SHA-256 of the previous link and this correction.
CREATE TABLE time_corrections (
  id INTEGER PRIMARY KEY,
  follows INTEGER NOT NULL,
  from_us INTEGER NOT NULL,
  to_us INTEGER NOT NULL,
  signed_by TEXT NOT NULL,
  reason TEXT NOT NULL,
  chain BLOB NOT NULL
) STRICT;

-- One alert for each kind, rule, window, scope and threshold: see sidecar/domain/alerts.py.
-- For a sliding minute the window is a minute of the clock, for a concurrent limit an hour; for a
-- model it is the days before its retirement, or the time since. instance is the sidecar that
-- raised it, share its part of every ceiling, undivided_ceiling the whole. replaced_by is the model
-- to use instead of one that retires.
CREATE TABLE alerts (
  id INTEGER PRIMARY KEY,
  alert_id TEXT NOT NULL UNIQUE,
  kind TEXT NOT NULL CHECK (kind IN ('threshold', 'overrun', 'expired', 'usage_refused', 'burn',
    'key_in_use', 'model_retires', 'model_retired')),
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
  instance TEXT NOT NULL DEFAULT '',
  share TEXT NOT NULL DEFAULT '',
  undivided_ceiling INTEGER,
  replaced_by TEXT NOT NULL DEFAULT '',
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

-- One secret of a key: its name at Mistral, Mistral's id (empty until it is known), and its
-- fingerprint, an HMAC-SHA256 with the operator's pepper (empty where the secret was never
-- seen). Each key has at most one pending, one active, and one version in its grace period.
-- first_used and last_used are reported by Mistral; key_usage has the uses by decisions.
CREATE TABLE key_versions (
  id INTEGER PRIMARY KEY,
  key_id TEXT NOT NULL,
  version INTEGER NOT NULL CHECK (version > 0),
  name TEXT NOT NULL,
  remote_id TEXT NOT NULL DEFAULT '',
  fingerprint TEXT NOT NULL DEFAULT '',
  state TEXT NOT NULL CHECK (state IN ('pending', 'active', 'grace', 'revoked')),
  created_at_us INTEGER,
  activated_at_us INTEGER,
  first_used_at_us INTEGER,
  last_used_at_us INTEGER,
  revoked_at_us INTEGER,
  UNIQUE (key_id, version)
) STRICT;
CREATE UNIQUE INDEX key_versions_live ON key_versions (key_id, state) WHERE state <> 'revoked';

-- One rotation and its stage: see sidecar/domain/rotation.py. from_version is 0 for a key's
-- first. The process that works on it is the owner of the lease, until lease_until_us.
CREATE TABLE key_rotations (
  id INTEGER PRIMARY KEY,
  key_id TEXT NOT NULL,
  from_version INTEGER NOT NULL,
  to_version INTEGER NOT NULL,
  stage TEXT NOT NULL,
  stage_at_us INTEGER NOT NULL,
  started_at_us INTEGER NOT NULL,
  ended_at_us INTEGER,
  owner TEXT NOT NULL DEFAULT '',
  lease_until_us INTEGER NOT NULL DEFAULT 0
) STRICT;
CREATE UNIQUE INDEX key_rotations_running ON key_rotations (key_id) WHERE ended_at_us IS NULL;

-- The steps of each rotation, in order: every stage, and the errors within one.
CREATE TABLE key_rotation_steps (
  id INTEGER PRIMARY KEY,
  rotation INTEGER NOT NULL REFERENCES key_rotations (id),
  at_us INTEGER NOT NULL,
  version INTEGER NOT NULL,
  stage TEXT NOT NULL,
  owner TEXT NOT NULL,
  note TEXT NOT NULL DEFAULT ''
) STRICT;
CREATE INDEX key_rotation_steps_by_rotation ON key_rotation_steps (rotation);

-- The keys whose use is counted, and since when: those of the policies' registry, so that
-- invented names take no room.
CREATE TABLE key_tracking (
  key_id TEXT PRIMARY KEY,
  since_us INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- Sums of the decisions that name a tracked key, kept when those are pruned. key_id is KEY, or
-- KEY#VERSION for a version in key_versions. An allowed decision is a use of the key.
CREATE TABLE key_usage_counted (
  key_id TEXT NOT NULL,
  model TEXT NOT NULL,
  effect TEXT NOT NULL,
  first_used_at_us INTEGER NOT NULL,
  last_used_at_us INTEGER NOT NULL,
  decisions INTEGER NOT NULL,
  PRIMARY KEY (key_id, model, effect)
) STRICT, WITHOUT ROWID;

-- One row: the last decision that is in key_usage_counted.
CREATE TABLE key_usage_until (
  decision INTEGER NOT NULL
) STRICT;

-- Each decision since then that names a tracked key. The order of the joins is forced: the
-- decisions since then are few.
CREATE VIEW key_usage_uncounted AS
SELECT d.id AS decision, iif(v.version IS NULL, t.key_id, d.key_id) AS key_id, d.model, d.effect,
  d.decided_at_us
FROM (
  SELECT id, key_id, model, effect, decided_at_us FROM decisions
  WHERE id > (SELECT decision FROM key_usage_until)
  UNION ALL
  SELECT id, key_id, model, CAST('deny' AS TEXT), decided_at_us FROM denials
  WHERE id > (SELECT decision FROM key_usage_until)
) d
CROSS JOIN key_tracking t ON t.key_id = substr(d.key_id, 1, instr(d.key_id || '#', '#') - 1)
LEFT JOIN key_versions v ON v.key_id = t.key_id
  AND v.version = CAST(substr(d.key_id, length(t.key_id) + 2) AS INTEGER)
  AND d.key_id = t.key_id || '#' || v.version;

-- Both together, up to the last decision.
CREATE VIEW key_usage AS
SELECT key_id, model, effect, min(first_used_at_us) AS first_used_at_us,
  max(last_used_at_us) AS last_used_at_us, sum(decisions) AS decisions
FROM (
  SELECT key_id, model, effect, first_used_at_us, last_used_at_us, decisions
  FROM key_usage_counted
  UNION ALL
  SELECT key_id, model, effect, decided_at_us, decided_at_us, 1 FROM key_usage_uncounted
) GROUP BY key_id, model, effect;

-- Views for people.
CREATE VIEW decision_log AS
SELECT datetime(decided_at_us / 1000000, 'unixepoch') AS decided_at_utc, effect, principal, role,
  workspace, model_requested, model, endpoint,
  (SELECT group_concat(value ->> 'code', ', ') FROM json_each(reasons)) AS reasons,
  (SELECT group_concat(value ->> 'rule', ', ') FROM json_each(shadow_reasons)) AS shadow_rules,
  decision_id,
  substr(request_id, 1, instr(request_id || char(31), char(31)) - 1) AS request_id
FROM all_decisions;

CREATE VIEW open_holds AS
SELECT hold_id, datetime(expires_at_us / 1000000, 'unixepoch') AS expires_at_utc, principal,
  workspace, model, held_input_tokens + held_output_tokens AS held_tokens,
  printf('$%d.%09d', held_cost_nano_usd / 1000000000, held_cost_nano_usd % 1000000000)
    AS held_cost_usd
FROM holds JOIN decisions USING (id) WHERE state = 'open' ORDER BY expires_at_us;

CREATE VIEW budgets_by_window AS
SELECT rule, scope, window, meter, datetime(window_start_us / 1000000, 'unixepoch') AS from_utc,
  CASE WHEN window <> 'concurrent' THEN datetime(window_end_us / 1000000, 'unixepoch') END
    AS until_utc,
  ceiling, spent, held, ceiling - spent - held AS remaining
FROM budgets ORDER BY rule, scope, window_start_us;

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

CREATE VIEW adjustment_log AS
SELECT datetime(adjusted_at_us / 1000000, 'unixepoch') AS adjusted_at_utc, rule, scope, window,
  meter, amount, signed_by, reason
FROM adjustments JOIN budgets ON budgets.id = budget ORDER BY adjustments.id;

CREATE VIEW time_correction_log AS
SELECT datetime(from_us / 1000000, 'unixepoch') AS from_utc,
  datetime(to_us / 1000000, 'unixepoch') AS to_utc, signed_by, reason
FROM time_corrections ORDER BY id;

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

CREATE VIEW key_rotation_log AS
SELECT datetime(at_us / 1000000, 'unixepoch') AS at_utc, key_id, from_version, version, s.stage,
  note, s.owner, rotation
FROM key_rotation_steps s JOIN key_rotations r ON r.id = s.rotation ORDER BY s.id;
