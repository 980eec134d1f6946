-- The last decision of the ledger when it got its place in the fleet; 0 for a ledger that joined. What
-- was spent until then was reported from its place before, and is not reported twice.
ALTER TABLE holder ADD COLUMN reported_after INTEGER NOT NULL DEFAULT 0;
