"""Each promise of the ledger broken on purpose: `make mutants` shows that the tests notice."""
