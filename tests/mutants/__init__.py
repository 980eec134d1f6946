"""Mutants break each promise on purpose; `make mutants` checks that a test fails for each."""
