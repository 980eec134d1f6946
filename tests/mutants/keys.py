"""Mutants of U1, which is about the use of keys, and of what is made of versions."""

from mutants.mutant import Mutant

U1 = [
    Mutant(
        "pruned-uncounted", "U1", "A use is forgotten with its decision.",
        "ledger/sqlite.py", "self._key_usage.count()  # what goes is counted first", "pass",
    ),
    Mutant(
        "counted-twice", "U1", "The last decision that was counted is counted again.",
        "ledger/key_usage.py", "UPDATE key_usage_until SET decision = ?", "UPDATE key_usage_until SET decision = ? - 1",
    ),
    Mutant(
        "uncounted-unseen", "U1", "A reader sees what is summed up alone.",
        "ledger/key_tables.py", "1 FROM key_usage_uncounted", "1 FROM key_usage_uncounted WHERE 0",
    ),
    Mutant(
        "made-up-versions", "U1", "Versions that nobody made take room.",
        "ledger/key_tables.py", "iif(v.version IS NULL, t.key_id, d.key_id)", "d.key_id",
    ),
    Mutant(
        "counting-since-now", "U1", "The date says less than what is counted.",
        "ledger/key_usage.py", "at_us if first_us is None else first_us", "at_us",
    ),
    Mutant(
        "registered-in-memory-alone", "U1", "A key whose registration was rolled back is not counted.",
        "ledger/key_usage.py", "self._tracked.clear()", "pass",
    ),
    Mutant(
        "revoked-versions-pass", "U1", "A version that is revoked opens what its key opens.",
        "authorizer.py", "if key_id in self.revoked_versions:", "if not key_id and self.revoked_versions:",
    ),
    Mutant(
        "nobody-looks-after-keys", "U1", "A running sidecar learns of no revoked version, and counts nothing.",
        "housekeeping.py", "await _repeat(KEYS_EVERY_SECONDS, look, ", "await _repeat(1e9, look, ",
    ),
]  # fmt: skip
