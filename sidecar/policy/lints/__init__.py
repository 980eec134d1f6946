"""What loads and is probably not meant."""
