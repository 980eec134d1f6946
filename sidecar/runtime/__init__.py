"""The process of `sidecar serve`: its settings, parts, listeners, maintenance and log."""
