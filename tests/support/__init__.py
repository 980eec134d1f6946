"""What several tests need: real sidecars, policy directories, ledgers."""
