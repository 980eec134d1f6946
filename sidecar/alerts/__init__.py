"""Delivery of alerts: the channels, and the dispatcher with its retries."""
