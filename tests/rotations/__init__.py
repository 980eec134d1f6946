"""Crash tests of rotations: kill -9 at every boundary, and check what is left (`make rotations`)."""
