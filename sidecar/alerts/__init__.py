"""Telling people of alerts: channels, and the dispatcher that keeps at it."""
