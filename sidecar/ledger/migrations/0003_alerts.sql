-- Alerts, and their deliveries.

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

-- The hourly cost budgets, for burn alerts. With the condition window = 'hour', SQLite
-- would plan the query of every decision again, to compare its parameter with that.
CREATE INDEX budgets_cost_by_hour ON budgets (window_start_us)
  WHERE window || ' ' || meter = 'hour cost';
