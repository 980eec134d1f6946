"""Mutants of U1, which is about the use of keys, and of K1 to K3, about their rotation."""

from mutants.mutant import Mutant, TextMutant

U1 = [
    Mutant(
        "pruned-uncounted", "U1", "A use is forgotten with its decision.",
        "SqliteLedger._prune", "self._key_usage.count()", "pass",
    ),
    TextMutant(
        "counted-twice", "U1", "The last decision that was counted is counted again.",
        "KeyUsage.count",
        "UPDATE key_usage_until SET decision = ?", "UPDATE key_usage_until SET decision = ? - 1",
    ),
    TextMutant(
        "uncounted-unseen", "U1", "A reader sees what is summed up alone.",
        "USAGE", "1 FROM key_usage_uncounted", "1 FROM key_usage_uncounted WHERE 0",
    ),
    TextMutant(
        "made-up-versions", "U1", "Versions that nobody made take room.",
        "USAGE", "iif(v.version IS NULL, t.key_id, d.key_id)", "d.key_id",
    ),
    Mutant(
        "counting-since-now", "U1", "The date says less than what is counted.",
        "KeyUsage.track", "at_us if first_us is None else first_us", "at_us",
    ),
    Mutant(
        "registered-in-memory-alone", "U1", "A key whose registration was rolled back is not counted.",
        "KeyUsage.forget", "self._tracked.clear()", "pass",
    ),
    Mutant(
        "revoked-versions-pass", "U1", "A version that is revoked opens what its key opens.",
        "Authorizer._evaluate",
        "key_id in self.revoked_versions", "not key_id and self.revoked_versions",
    ),
    Mutant(
        "nobody-looks-after-keys", "U1", "A running sidecar learns of no revoked version, and counts nothing.",
        "run_key_maintenance", "KEYS_EVERY_SECONDS", "1000000000.0",
    ),
]  # fmt: skip

K1 = [
    Mutant(
        "untried", "K1", "Apps find a secret that Mistral does not take yet.",
        "Rotation.verify", "SUCCESSES", "0",
    ),
    Mutant(
        "stored-and-revoked", "K1", "Who died after storing a secret revokes its key.",
        "Rotation.recover",
        "await self._is_stored(rotation)", "not await self._is_stored(rotation)",
    ),
    Mutant(
        "another-pepper-is-another-secret", "K1", "With another pepper, the key that apps use is revoked.",
        "Pepper.is_of", "raise OtherPepperError", "return False",
    ),
    Mutant(
        "both-gone", "K1", "The old key is revoked though the new one is gone.",
        "RotationContext._check_exists", "not there", "False",
    ),
    Mutant(
        "in-use-and-revoked", "K1", "Grace has no end that anybody waits for.",
        "Rotation.end_grace", "verdict is GraceVerdict.IN_USE", "verdict is None",
    ),
    Mutant(
        "two-at-work", "K1", "A lease keeps nobody out.",
        "KeyStore.take_over", "current.owner != self._owner", "current.owner is None",
    ),
]  # fmt: skip

K2 = [
    Mutant(
        "left-behind", "K2", "A key whose secret was lost lives on.",
        "Rotation.begin_again",
        "await self._revoke_new(rotation)\n"
        "if self._created >= MAX_CREATIONS:\n"
        "    ...",
        "if self._created >= MAX_CREATIONS:\n"
        "    ...",
    ),
    Mutant(
        "too-late-to-be-found", "K2", "What was listed late only is never revoked.",
        "Rotation.revoke", "await self._remote.sweep(new.key_id, rotation)", "pass",
    ),
    Mutant(
        "rotated-twice", "K2", "A key that somebody else has just rotated is rotated again.",
        "KeyStore.begin",
        "of is not None and of.version != before", "of is None and before is None",
    ),
]  # fmt: skip

K3 = [
    Mutant(
        "no-pepper", "K3", "Whoever has the ledger can try secrets.",
        "Pepper._mac", "self._content", "b''",
    ),
    Mutant(
        "readable", "K3", "Others on the machine can read the secret.",
        "_replace", "384", "420",
    ),
]  # fmt: skip
