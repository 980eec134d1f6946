"""Deterministic simulation: every seed is a world in which clients, disk and clock misbehave."""
