"""Deterministic simulation of a fleet: each seed is a world of sidecars that share budgets."""
