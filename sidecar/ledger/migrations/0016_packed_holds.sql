-- A hold is one row: its amounts on each budget are in a column of it, and the table of amounts
-- becomes a view. The ids of new decisions and holds have the key of their row, so only ids of
-- before need an index. A UNIQUE constraint cannot be dropped, so the tables are made again.

-- The number of the holds that are kept and count in the row.
ALTER TABLE budgets ADD COLUMN holds INTEGER NOT NULL DEFAULT 0;
UPDATE budgets SET holds = (SELECT count(*) FROM hold_amounts WHERE budget = budgets.id);

DROP VIEW key_usage;
DROP VIEW key_usage_uncounted;
DROP VIEW decision_log;
DROP VIEW all_decisions;
DROP VIEW open_holds;
DROP VIEW spend_by_team_model_day;
ALTER TABLE decisions RENAME TO earlier_decisions;
ALTER TABLE holds RENAME TO earlier_holds;

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
INSERT INTO decisions SELECT
  id, decision_id, request_id, fingerprint, decided_at_us, effect, principal, role, workspace,
  key_id, model_requested, model, endpoint, max_output_tokens, reasons, shadow_reasons, budgets,
  retry_after_us, policy_set, policy_generation, chain
FROM earlier_decisions;

-- amounts is a JSON list, with [budget, held, charge_on_expiry, charged] for each budget that the hold
-- counts in, by its id.
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
INSERT INTO holds SELECT
  id, hold_id, state, expires_at_us, closed_at_us, price, service_tier, batch, region,
  held_input_tokens, held_output_tokens, held_pages, held_audio_seconds, held_cost_nano_usd,
  charged_input_tokens, charged_output_tokens, charged_cached_input_tokens, charged_pages,
  charged_audio_seconds, charged_cost_nano_usd, overrun, outcome, response_model,
  held_characters, held_annotated_pages, held_tool_calls, charged_characters,
  charged_annotated_pages, charged_tool_calls, unrecognized_usage,
  (SELECT json_group_array(json_array(budget, held, charge_on_expiry, charged))
    FROM (SELECT * FROM hold_amounts WHERE hold = earlier_holds.id ORDER BY budget))
FROM earlier_holds;

DROP TABLE hold_amounts;
DROP TABLE earlier_holds;
DROP TABLE earlier_decisions;

CREATE UNIQUE INDEX decisions_by_request_id ON decisions (request_id) WHERE request_id IS NOT NULL;
CREATE INDEX holds_open ON holds (expires_at_us) WHERE state = 'open';
CREATE UNIQUE INDEX holds_earlier_ids ON holds (hold_id) WHERE instr(hold_id, '-') = 0;

CREATE VIEW hold_amounts AS
SELECT h.id AS hold, a.value ->> 0 AS budget, a.value ->> 1 AS held, a.value ->> 3 AS charged,
  a.value ->> 2 AS charge_on_expiry
FROM holds h, json_each(h.amounts) a;

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

CREATE VIEW key_usage AS
SELECT key_id, model, effect, min(first_used_at_us) AS first_used_at_us,
  max(last_used_at_us) AS last_used_at_us, sum(decisions) AS decisions
FROM (
  SELECT key_id, model, effect, first_used_at_us, last_used_at_us, decisions
  FROM key_usage_counted
  UNION ALL
  SELECT key_id, model, effect, decided_at_us, decided_at_us, 1 FROM key_usage_uncounted
) GROUP BY key_id, model, effect;

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
