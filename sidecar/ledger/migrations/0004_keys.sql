-- The versions of keys, and their rotations. No table contains a secret.

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

CREATE VIEW key_rotation_log AS
SELECT datetime(at_us / 1000000, 'unixepoch') AS at_utc, key_id, from_version, version, s.stage,
  note, s.owner, rotation
FROM key_rotation_steps s JOIN key_rotations r ON r.id = s.rotation ORDER BY s.id;
