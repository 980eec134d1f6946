-- Marks the holds whose reported usage had no known count.

ALTER TABLE holds ADD COLUMN unrecognized_usage INTEGER NOT NULL DEFAULT 0;
