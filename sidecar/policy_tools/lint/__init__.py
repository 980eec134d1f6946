"""Warnings about rules and data that load and are probably not meant."""
