"""The diff of two policy sets: what changes, and for which callers."""
