-- Corrections of the ledger's time, and how far prunings reach.

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

-- Windows that ended before before_us may have been deleted. It is 0 where that is not known.
ALTER TABLE prunings ADD COLUMN before_us INTEGER NOT NULL DEFAULT 0;

CREATE VIEW time_correction_log AS
SELECT datetime(from_us / 1000000, 'unixepoch') AS from_utc,
  datetime(to_us / 1000000, 'unixepoch') AS to_utc, signed_by, reason
FROM time_corrections ORDER BY id;
