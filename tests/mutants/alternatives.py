"""Mutants of what is said to fit instead of a denied call: F1."""

from mutants.mutant import Mutant

F1 = [
    Mutant(
        "fits-an-allowed-call", "F1", "An allowed call gets what would fit, at the price of dry runs.",
        "fitting", "decision.effect is Effect.ALLOW", "False",
    ),
    Mutant(
        "fits-a-contradicted-principal", "F1", "A denial by something other than limits says what would fit.",
        "fitting", "not all(...)", "False",
    ),
    Mutant(
        "larger-than-budget-fits-nothing", "F1", "A call that is larger than a whole budget is not said what would fit.",
        "fitting", "reason.rule in limits or reason.code == LARGER_THAN_BUDGET", "reason.rule in limits",
    ),
    Mutant(
        "denial-lost-with-the-ledger", "F1", "A denial is not answered when the ledger cannot be read after it.",
        "fitting",
        "try:\n"
        "    return await _of_trials(trials)\n"
        "except LedgerUnavailableError:\n"
        "    return NOTHING",
        "return await _of_trials(trials)",
    ),
    Mutant(
        "shadow-limits-taken-for-enforced", "F1", "A limit in shadow mode mixes up what the others have left.",
        "_of_trials", "[line for line in result.lines if not line.shadow]", "list(result.lines)",
    ),
    Mutant(
        "output-that-rules-deny", "F1", "An output is said to fit that a rule denies.",
        "_most_output", "most and await trials.allows(with_output(most))", "most",
    ),
    Mutant(
        "output-one-too-small", "F1", "A token less is said to fit than would be allowed.",
        "_largest", "return lower", "return max(0, lower - 1)",
    ),
    Mutant(
        "output-one-too-large", "F1", "A token more is said to fit than would be allowed.",
        "_largest", "return lower", "return lower + 1",
    ),
    Mutant(
        "held-is-room", "F1", "What is held by open calls is said to be free.",
        "_fit", "budget.spent + budget.held", "budget.spent",
    ),
    Mutant(
        "models-that-rules-deny", "F1", "A model is said to fit that a rule or another limit denies.",
        "_models", "await trials.allows(with_model(name, size.endpoint))", "True",
    ),
    Mutant(
        "models-by-name", "F1", "Models that fit are in the order of their names, not of their costs.",
        "_models", "candidates.add((size.cost_nano_usd(tariff), model.message.id))",
        "candidates.add((0, model.message.id))",
    ),
    Mutant(
        "models-without-bound", "F1", "Any number of models is listed.",
        "_models", "len(found) == MAX_MODELS", "False",
    ),
    Mutant(
        "limits-of-models-taken-for-shared", "F1", "A limit that each model has for itself keeps others from fitting.",
        "_fixed", "room[0].limit.rule in alike", "True",
    ),
    Mutant(
        "scopes-of-models-taken-for-shared", "F1", "A limit that is counted for each model keeps others from fitting.",
        "_fixed", "rule.body.reads | rule.terms.per.reads", "rule.body.reads",
    ),
    Mutant(
        "model-for-another-endpoint", "F1", "A model is said to fit that is for another kind of call.",
        "with_model", "pb.AuthorizeRequest(model=name, endpoint=f'ENDPOINT_{endpoint}')",
        "pb.AuthorizeRequest(model=name)",
    ),
]  # fmt: skip
