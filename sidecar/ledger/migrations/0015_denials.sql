-- Denials have a table of their own, in which the oldest make room for new ones. Those of before
-- stay in decisions, as links of its hash chain.

-- The latest denials since version 0015; earlier ones are in decisions. Decisions and denials have
-- one sequence of ids; number counts denials alone. dropped is how many had made room for newer
-- ones by then. request_id is as in decisions. chain is the SHA-256 of the link of the denial
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
INSERT INTO denials_gone VALUES (0, zeroblob(32));

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

DROP VIEW key_usage_uncounted;
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

DROP VIEW decision_log;
CREATE VIEW decision_log AS
SELECT datetime(decided_at_us / 1000000, 'unixepoch') AS decided_at_utc, effect, principal, role,
  workspace, model_requested, model, endpoint,
  (SELECT group_concat(value ->> 'code', ', ') FROM json_each(reasons)) AS reasons,
  (SELECT group_concat(value ->> 'rule', ', ') FROM json_each(shadow_reasons)) AS shadow_rules,
  decision_id,
  substr(request_id, 1, instr(request_id || char(31), char(31)) - 1) AS request_id
FROM all_decisions;
