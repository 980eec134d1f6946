"""The tables of keys and their rotations. No secret is in any of them."""

KEYS = """
-- Each secret that a key has had at Mistral, by what tells it from others: the name that it
-- has there, Mistral's id (empty until it is known), and its fingerprint, an HMAC-SHA256 with
-- the operator's pepper (empty where the secret was never seen). Of each key one version at
-- most is pending, active, or in its grace.
-- first_used and last_used are what Mistral says; key_usage has what decisions say.
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

-- Each rotation, as far as it has come: see sidecar/domain/rotation.py. from_version is 0 for
-- a key's first. Who works at it has the lease, until lease_until_us.
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

-- What happened in each rotation, in order: every stage, and what went wrong within one.
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

CREATE VIEW key_rotation_log AS
SELECT datetime(at_us / 1000000, 'unixepoch') AS at_utc, key_id, from_version, version, s.stage,
  note, s.owner, rotation
FROM key_rotation_steps s JOIN key_rotations r ON r.id = s.rotation ORDER BY s.id;
"""

USAGE = """
-- The keys whose use is counted, and from when on: those of the policies' registry, so that
-- what callers make up takes no room.
CREATE TABLE key_tracking (
  key_id TEXT PRIMARY KEY,
  since_us INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- Decisions that name a tracked key, summed up: they outlive the decisions. key_id is KEY, or
-- KEY#VERSION for a version that key_versions has. What is allowed here is a use of the key.
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

-- All of it, to the last decision.
CREATE VIEW key_usage AS
SELECT key_id, model, effect, min(first_used_at_us) AS first_used_at_us,
  max(last_used_at_us) AS last_used_at_us, sum(decisions) AS decisions
FROM (
  SELECT key_id, model, effect, first_used_at_us, last_used_at_us, decisions
  FROM key_usage_counted
  UNION ALL
  SELECT key_id, model, effect, decided_at_us, decided_at_us, 1 FROM key_usage_uncounted
) GROUP BY key_id, model, effect;
"""
