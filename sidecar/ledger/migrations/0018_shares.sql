-- A ledger that is a holder in a fleet, and its shares of the fleet's budgets. Empty without a fleet.

-- One row. boot counts the starts of sidecars on this ledger; version is that of the last answer of
-- the fleet's books that is in `shares`; timeline is the highest of PostgreSQL that it has seen.
CREATE TABLE holder (
  id INTEGER PRIMARY KEY CHECK (id = 1),
  uid TEXT NOT NULL,
  fleet_id TEXT NOT NULL,
  boot INTEGER NOT NULL,
  version INTEGER NOT NULL,
  timeline INTEGER NOT NULL
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
