-- Anchors and opening balances; prunings become links of the chain.
-- sidecar/ledger/schema.py then moves the rows of pruned into prunings, and drops pruned.

-- The anchor of the window, as of its latest admission: the day of the month, or the weekday
-- from 1 for Monday, and the hour.
ALTER TABLE budgets ADD COLUMN starts_on INTEGER NOT NULL DEFAULT 1;
ALTER TABLE budgets ADD COLUMN starts_at INTEGER NOT NULL DEFAULT 0;

-- The opening balance: what pruned holds were charged, which is a part of spent. NULL where
-- none was pruned.
ALTER TABLE budgets ADD COLUMN opening INTEGER;
CREATE INDEX budgets_with_opening ON budgets (window_end_us) WHERE opening IS NOT NULL;

-- Each pruning, as a link of the chain of decisions: it follows the decision of this row id.
-- pruned is the last decision that was deleted, with its link. openings is the digest of all
-- opening balances: see sidecar/ledger/chain.py.
CREATE TABLE prunings (
  id INTEGER PRIMARY KEY,
  follows INTEGER NOT NULL,
  pruned INTEGER NOT NULL,
  pruned_chain BLOB NOT NULL,
  openings BLOB NOT NULL,
  chain BLOB NOT NULL
) STRICT;
