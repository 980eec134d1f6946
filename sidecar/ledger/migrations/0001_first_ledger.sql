-- The first tables and views.

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
