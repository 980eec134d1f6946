"""The spend ledger: the only state. SQL is written here and nowhere else."""
