"""Mutants of D1, which is about the room that denials take."""

from mutants.mutant import Mutant

D1 = [
    Mutant(
        "denials-without-bound", "D1", "No denial makes room for a newer one.",
        "Denials.record", "surplus > 0", "surplus > 10**9",
    ),
    Mutant(
        "bound-not-passed-on", "D1", "The running sidecar does not use --max-denials.",
        "ledger_options", "settings.max_denials", "10**9",
    ),
    Mutant(
        "latest-denials-dropped", "D1", "What is deleted for a newer denial is more than what has no room.",
        "Denials.record", "max(surplus, self._at_once)", "surplus + self._at_once",
    ),
    Mutant(
        "verify-blind-to-altered-denials", "D1", "`ledger verify` accepts an altered denial.",
        "_breaks_of_denials", "link != _link(previous[1], values)", "not link",
    ),
    Mutant(
        "verify-blind-to-the-number-of-denials", "D1", "`ledger verify` accepts another number of denials that are gone.",
        "_breaks_of_denials", "number != previous[0] + 1", "not number",
    ),
    Mutant(
        "dropped-not-counted", "D1", "The number of dropped denials is not the number of those that made room.",
        "Denials.record", "dropped + dropping", "dropped",
    ),
    Mutant(
        "drop-loses-the-link", "D1", "A denial that is dropped does not leave its link.",
        "Denials._delete",
        "self._sql.execute('UPDATE denials_gone SET number = ?, chain = ?', (number, link))",
        "self._sql.execute('UPDATE denials_gone SET number = ?, chain = ?', (number, b''))",
    ),
]  # fmt: skip
