"""Trust: which policy sets may take effect, by digest or signature."""
