"""The benchmark of a fleet (`make bench-fleet`)."""
