"""Sinks, where apps find a key's secret: a file, a Kubernetes Secret or a command."""
