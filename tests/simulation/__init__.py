"""Deterministic simulation: each seed is a world with faults of clients, disk and clock."""
