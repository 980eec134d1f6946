"""Crash tests of rotations: kill -9 at every boundary, and check what remains (`make rotations`)."""
