-- Alerts of usage that was refused, and request ids that belong to a caller. A CHECK cannot be
-- altered, so the tables of alerts are made again.

CREATE TEMP TABLE kept_alerts AS SELECT * FROM alerts;
CREATE TEMP TABLE kept_alert_deliveries AS SELECT * FROM alert_deliveries;
DROP VIEW alert_log;
DROP TABLE alert_deliveries;
DROP TABLE alerts;

-- One alert for each kind, rule, window, scope and threshold: see sidecar/domain/alerts.py.
-- For a sliding minute the window is a minute of the clock, for a concurrent limit an hour; for a
-- model it is the days before its retirement, or the time since. replaced_by is the model to use
-- instead of one that retires.
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

INSERT INTO alerts SELECT * FROM temp.kept_alerts;
DROP TABLE temp.kept_alerts;
INSERT INTO alert_deliveries SELECT * FROM temp.kept_alert_deliveries;
DROP TABLE temp.kept_alert_deliveries;

-- From now on, char(31) and a digest of whom it belongs to follow a request_id in the ledger.
DROP VIEW decision_log;
CREATE VIEW decision_log AS
SELECT datetime(decided_at_us / 1000000, 'unixepoch') AS decided_at_utc, effect, principal, role,
  workspace, model_requested, model, endpoint,
  (SELECT group_concat(value ->> 'code', ', ') FROM json_each(reasons)) AS reasons,
  (SELECT group_concat(value ->> 'rule', ', ') FROM json_each(shadow_reasons)) AS shadow_rules,
  decision_id,
  substr(request_id, 1, instr(request_id || char(31), char(31)) - 1) AS request_id
FROM decisions ORDER BY id;
