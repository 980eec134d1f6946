"""CEL: two evaluators, and what rules may say so that both read it alike."""
