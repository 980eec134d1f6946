"""Policies: rules in CEL, data in YAML, compiled into one immutable set."""
