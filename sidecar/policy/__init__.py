"""Policies: rules in CEL and data in YAML, compiled into one immutable policy set."""
