"""Crash tests: kill -9 a sidecar under load, repeatedly, on one ledger (`make crashes KILLS=300`)."""
