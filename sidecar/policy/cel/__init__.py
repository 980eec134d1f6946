"""CEL: two evaluators, and the portable subset that both evaluate alike."""
