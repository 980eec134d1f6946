"""What changes for which callers between two policy sets."""
