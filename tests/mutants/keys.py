"""Mutants of U1, which is about the use of keys, and of K1 to K3, about their rotation."""

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
        "authorization/authorizer.py", "if key_id in self.revoked_versions:", "if not key_id and self.revoked_versions:",
    ),
    Mutant(
        "nobody-looks-after-keys", "U1", "A running sidecar learns of no revoked version, and counts nothing.",
        "runtime/maintenance.py", "await _repeat(KEYS_EVERY_SECONDS, look, ", "await _repeat(1e9, look, ",
    ),
]  # fmt: skip

K1 = [
    Mutant(
        "untried", "K1", "Apps find a secret that Mistral does not take yet.",
        "keys/rotation.py", "while successes < SUCCESSES:", "while successes < 0:",
    ),
    Mutant(
        "stored-and-revoked", "K1", "Who died after storing a secret revokes its key.",
        "keys/rotation.py", "if await self._is_stored(rotation):", "if not await self._is_stored(rotation):",
    ),
    Mutant(
        "another-pepper-is-another-secret", "K1", "With another pepper, the key that apps use is revoked.",
        "keys/pepper.py", "raise OtherPepperError", "return False",
    ),
    Mutant(
        "both-gone", "K1", "The old key is revoked though the new one is gone.",
        "keys/rotation_context.py", "if not there:", "if not there and version is None:",
    ),
    Mutant(
        "in-use-and-revoked", "K1", "Grace has no end that anybody waits for.",
        "keys/rotation.py", "if verdict is GraceVerdict.IN_USE:", "if verdict is None:",
    ),
    Mutant(
        "two-at-work", "K1", "A lease keeps nobody out.",
        "ledger/key_store.py", "if held and there.owner != self._owner:", "if held and there.owner is None:",
    ),
]  # fmt: skip
K2 = [
    Mutant(
        "left-behind", "K2", "A key whose secret was lost lives on.",
        "keys/rotation.py", "await self._revoke_new(rotation)\n        if self._created", "if self._created",
    ),
    Mutant(
        "too-late-to-be-found", "K2", "What was listed late only is never revoked.",
        "keys/rotation.py", "await self._remote.sweep(new.key_id, rotation)", "pass",
    ),
    Mutant(
        "rotated-twice", "K2", "A key that somebody else has just rotated is rotated again.",
        "ledger/key_store.py", "if of is not None and of.version != before:", "if of is None and before is None:",
    ),
]  # fmt: skip
K3 = [
    Mutant(
        "no-pepper", "K3", "Whoever has the ledger can try secrets.",
        "keys/pepper.py", "hmac.new(self._content, ", 'hmac.new(b"", ',
    ),
    Mutant(
        "readable", "K3", "Others on the machine can read the secret.",
        "keys/sinks/file.py", "0o600", "0o644",
    ),
]  # fmt: skip
