-- The id of a ledger, which its backups keep.

-- One row. A marker outside of the ledger's folder names it: see ledger_marker.py.
CREATE TABLE ledger_identity (
  ledger_id TEXT NOT NULL
) STRICT;
INSERT INTO ledger_identity VALUES ('ledger_' || lower(hex(randomblob(16))));
