"""Mutants of retirement: R1, what is denied and reported, and A1 of its alerts."""

from mutants.mutant import Mutant, TextMutant

R1 = [
    Mutant(
        "retired-a-moment-late", "R1", "A model is allowed at the first moment of its retirement.",
        "_retired", "now_us >= retirement.retires_us", "now_us > retirement.retires_us",
    ),
    Mutant(
        "retires-unwarned", "R1", "Answers do not warn before the retirement.",
        "_retired", "(CallWarning('MODEL_RETIRES', text),)", "()",
    ),
    Mutant(
        "retirement-not-recorded", "R1", "A report does not know that a model retires.",
        "Admission.decide",
        "self._retirements.record(reservation.call.model_id, reservation.retirement)", "pass",
    ),
    Mutant(
        "retirement-recorded-once", "R1", "A report has the retirement as it was at the first decision.",
        "Retirements.record", "self._recorded.get(model_id) == retirement", "model_id in self._recorded",
    ),
    TextMutant(
        "retirements-without-spend", "R1", "A report names models that nothing was spent on.",
        "_RETIREMENTS", "AND d.model = r.model", "AND d.model <> ''",
    ),
]  # fmt: skip

A1 = [
    Mutant(
        "notice-a-moment-late", "A1", "A call exactly 30 days before the retirement raises no alert.",
        "Retirement.notice", "at_us >= start_us", "at_us > start_us",
    ),
    Mutant(
        "one-notice-for-all", "A1", "A call 7 days before the retirement raises no alert after one before.",
        "Retirement.notice", "NOTICE_DAYS.items()", "reversed(NOTICE_DAYS.items())",
    ),
    Mutant(
        "denied-calls-use-a-model", "A1", "A call that is denied takes the alert of a model that retires.",
        "Alerts.model_retirement", "decision.hold_id", "decision",
    ),
    Mutant(
        "any-denial-of-a-retired-model", "A1", "A call that a rule denies anyway takes the alert of a retired model.",
        "Alerts.model_retirement",
        "[reason.code for reason in reservation.reasons] == [MODEL_RETIRED]",
        "MODEL_RETIRED in [reason.code for reason in reservation.reasons]",
    ),
    Mutant(
        "models-share-an-alert", "A1", "An alert of one model keeps another from raising its own.",
        "Alerts.model_retirement",
        "self._is_new((kind, '', window, retirement.model_id, span.start_us, ()))",
        "self._is_new((kind, '', window, '', span.start_us, ()))",
    ),
    Mutant(
        "periods-share-an-alert", "A1", "After the day is put forward, a period that begins when another did raises no alert.",
        "Retirement.notice", "Notice(window, Span(start_us, self.retires_us))",
        "Notice(Window.DAY, Span(start_us, self.retires_us))",
    ),
    Mutant(
        "retired-alert-pruned", "A1", "The alert of a retired model is pruned, and raised again.",
        "Retirement.notice", "FOREVER_US", "self.retires_us + DAY_US",
    ),
]  # fmt: skip
