"""Telemetry: metrics, traces and the decision log."""
