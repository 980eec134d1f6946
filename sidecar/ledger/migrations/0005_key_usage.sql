-- The usage of keys, which is kept when decisions are pruned.

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

-- The last decision that is in key_usage_counted.
CREATE TABLE key_usage_until (
  decision INTEGER NOT NULL
) STRICT;
INSERT INTO key_usage_until (decision) VALUES (0);

-- Each decision since then that names a tracked key. The order of the joins is forced: the
-- decisions since then are few.
CREATE VIEW key_usage_uncounted AS
SELECT d.id AS decision, iif(v.version IS NULL, t.key_id, d.key_id) AS key_id, d.model, d.effect,
  d.decided_at_us
FROM decisions d
CROSS JOIN key_tracking t ON t.key_id = substr(d.key_id, 1, instr(d.key_id || '#', '#') - 1)
LEFT JOIN key_versions v ON v.key_id = t.key_id
  AND v.version = CAST(substr(d.key_id, length(t.key_id) + 2) AS INTEGER)
  AND d.key_id = t.key_id || '#' || v.version
WHERE d.id > (SELECT decision FROM key_usage_until);

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
