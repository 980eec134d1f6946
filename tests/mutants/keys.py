"""Mutants of U1, which is about the use of keys, and of K1 to K3, about their rotation."""

from mutants.mutant import MigrationMutant, Mutant, TextMutant

U1 = [
    Mutant(
        "pruned-uncounted", "U1", "Decisions are pruned before the use of their keys is counted.",
        "Retention.prune", "self._key_usage.count_through(last)", "pass",
    ),
    Mutant(
        "dropped-uncounted", "U1", "Denials are dropped before the use of their keys is counted.",
        "Denials._delete", "self._key_usage.count_through(row)", "pass",
    ),
    MigrationMutant(
        "denials-uncounted", "U1", "A denied call is no use of its key.",
        "0016_packed_holds", "CAST('deny' AS TEXT), decided_at_us FROM denials\n  WHERE id >", "CAST('deny' AS TEXT), decided_at_us FROM denials\n  WHERE NOT id >",
    ),
    TextMutant(
        "counted-twice", "U1", "The last decision that was counted is counted again.",
        "KeyUsage.count",
        "UPDATE key_usage_until SET decision = ?", "UPDATE key_usage_until SET decision = ? - 1",
    ),
    MigrationMutant(
        "uncounted-unseen", "U1", "A report on keys omits decisions that are not yet counted.",
        "0016_packed_holds", "1 FROM key_usage_uncounted", "1 FROM key_usage_uncounted WHERE 0",
    ),
    MigrationMutant(
        "made-up-versions", "U1", "A use is counted for versions that do not exist.",
        "0016_packed_holds", "iif(v.version IS NULL, t.key_id, d.key_id)", "d.key_id",
    ),
    Mutant(
        "counting-since-now", "U1", "The time from which uses are counted is later than the first counted use.",
        "KeyUsage.track", "at_us if first_us is None else first_us", "at_us",
    ),
    Mutant(
        "registered-in-memory-alone", "U1", "A key whose registration was rolled back is not registered again.",
        "KeyUsage.forget", "self._tracked.clear()", "pass",
    ),
    Mutant(
        "revoked-versions-pass", "U1", "A revoked version of a key is accepted.",
        "_with_revocation", "key_id not in revoked_versions", "key_id or not revoked_versions",
    ),
    Mutant(
        "keys-never-maintained", "U1", "The running sidecar never reads revoked versions, and counts no uses.",
        "run_key_maintenance", "KEYS_EVERY_SECONDS", "1000000000.0",
    ),
]  # fmt: skip

K1 = [
    Mutant(
        "new-key-not-verified", "K1", "A new key is stored without a check that Mistral accepts it.",
        "Rotation.verify", "SUCCESSES", "0",
    ),
    Mutant(
        "stored-and-revoked", "K1", "After a crash, recovery revokes a key whose secret was already stored for apps.",
        "Recovery.recover",
        "await self._stored.becomes(new)", "not await self._stored.becomes(new)",
    ),
    Mutant(
        "another-pepper-is-another-secret", "K1", "With another pepper, the key that apps use is revoked.",
        "Pepper.is_of", "raise OtherPepperError", "return False",
    ),
    Mutant(
        "both-gone", "K1", "The old key is revoked although the new one no longer exists.",
        "Rotation._check_exists", "not there", "False",
    ),
    Mutant(
        "in-use-and-revoked", "K1", "The old key is revoked while it is still used.",
        "Rotation.end_grace", "verdict is GraceVerdict.IN_USE", "verdict is None",
    ),
    Mutant(
        "two-at-work", "K1", "Two processes can hold the lease of one rotation.",
        "KeyStore.take_over", "current.owner != self.owner", "current.owner is None",
    ),
    Mutant(
        "use-of-one-ledger", "K1", "In a fleet, a key is revoked that another sidecar uses.",
        "_last", "(one_us, other_us)", "(one_us,)",
    ),
    Mutant(
        "silence-is-disuse", "K1", "In a fleet, a key is revoked that a silent sidecar may use.",
        "GracePeriod.verdict",
        "if reported.silent:\n"
        "    ...",
        "if False:\n"
        "    ...",
    ),
]  # fmt: skip

K2 = [
    Mutant(
        "left-behind", "K2", "A key whose secret was lost is not revoked.",
        "Rotation.begin_again",
        "await self._revoke_new(rotation)\n"
        "if self._created >= MAX_CREATIONS:\n"
        "    ...",
        "if self._created >= MAX_CREATIONS:\n"
        "    ...",
    ),
    Mutant(
        "too-late-to-be-found", "K2", "A key that Mistral lists late is never revoked.",
        "Rotation.revoke", "await self._remote.sweep(new.key_id, rotation)", "pass",
    ),
    Mutant(
        "rotated-twice", "K2", "A key that another process has just rotated is rotated again.",
        "KeyStore.begin",
        "of is not None and of.version != before", "of is None and before is None",
    ),
]  # fmt: skip

K3 = [
    Mutant(
        "no-pepper", "K3", "Fingerprints are made without the pepper, so that secrets can be guessed from the ledger.",
        "Pepper._mac", "self._content", "b''",
    ),
    Mutant(
        "secret-readable", "K3", "Other users of the machine can read the secret's file.",
        "_replace", "384", "420",
    ),
]  # fmt: skip
