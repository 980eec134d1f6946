"""Helpers of tests: real sidecars, policy directories, ledgers, and servers with faults."""
