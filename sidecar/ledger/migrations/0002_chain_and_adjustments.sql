-- The hash chain, and the table of adjustments.
-- sidecar/ledger/schema.py then links the decisions that are there.

-- The SHA-256 of the previous link and this decision: see sidecar/ledger/chain.py.
ALTER TABLE decisions ADD COLUMN chain BLOB NOT NULL DEFAULT x'';

-- The last decision that was pruned, with its link: the next decision follows it.
CREATE TABLE pruned (
  decision INTEGER NOT NULL,
  chain BLOB NOT NULL
) STRICT;

-- Signed corrections and one-off grants. A negative amount adds room.
CREATE TABLE adjustments (
  id INTEGER PRIMARY KEY,
  adjusted_at_us INTEGER NOT NULL,
  budget INTEGER NOT NULL REFERENCES budgets (id),
  amount INTEGER NOT NULL,
  signed_by TEXT NOT NULL,
  reason TEXT NOT NULL,
  chain BLOB NOT NULL
) STRICT;
CREATE INDEX adjustments_by_budget ON adjustments (budget);

CREATE VIEW adjustment_log AS
SELECT datetime(adjusted_at_us / 1000000, 'unixepoch') AS adjusted_at_utc, rule, scope, window,
  meter, amount, signed_by, reason
FROM adjustments JOIN budgets ON budgets.id = budget ORDER BY adjustments.id;
